"""The suite on ``MemoryStorage``, which declares everything: nothing may fail, and nothing that applies may be left."""

from __future__ import annotations

from uuid import uuid4

import pytest

from oacp_storage_conformance import StorageConformance, Tamper
from oacp_storage_core import MemoryStorage
from oacp_storage_core.memory_records import Documents, Log


class MemoryTamper(Tamper):
    """Reaches into the records that instances of one name share."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _data(self, namespace: str):
        return MemoryStorage(self._name, namespace=namespace)._data  # noqa: SLF001 - a tamper has no other way in

    def flip_interaction(self, agent_id, sequence, *, part, namespace):
        log: Log = self._data(namespace).agents[agent_id].log
        place = next(i for i, record in enumerate(log.records) if record.sequence == sequence)
        record = log.records[place]
        changed = {
            "body": record._replace(body=_flipped(record.body)),
            "id": record._replace(id=record.id[:-1] + chr(ord(record.id[-1]) ^ 1)),
            "time": record._replace(at_us=record.at_us ^ 1),
        }[part]
        log.records[place] = changed
        del log.by_id[record.id]
        log.by_id[changed.id] = changed

    def flip_state(self, agent_id, *, namespace):
        _flip(self._data(namespace).agents[agent_id].state, "")

    def flip_learning_data(self, agent_id, key, *, namespace):
        _flip(self._data(namespace).agents[agent_id].learning, key)

    def flip_system_state(self, key, *, namespace):
        _flip(self._data(namespace).system, key)


def _flip(documents: Documents, key: str) -> None:
    found = documents.stored[key]
    documents.stored[key] = found._replace(body=_flipped(found.body))


def _flipped(body: bytes) -> bytes:
    return body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]


class TestMemory(StorageConformance):
    @pytest.fixture
    def name(self):
        name = f"test-{uuid4().hex}"
        yield name
        MemoryStorage.forget(name)

    @pytest.fixture
    def storage_source(self, name):
        return f"memory://{name}"

    @pytest.fixture
    def storage_tamper(self, name):
        return MemoryTamper(name)
