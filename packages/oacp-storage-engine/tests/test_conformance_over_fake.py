"""The published suite over the whole engine: what it proves of a fake backend is the engine's own doing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from memory_engine import Tenant, damage_document, damage_record
from networked_engine import NetworkedStorage, NetworkedStore
from oacp_storage_conformance import StorageConformance, Tamper
from oacp_storage_engine import DocKind, DocRef


def _flipped(body: bytes) -> bytes:
    return body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]


class MemoryTamper(Tamper):
    network = True

    def __init__(self, store: NetworkedStore) -> None:
        self._store = store

    def cut_connections(self) -> None:
        self._store.cuts += 1

    def stop_server(self) -> None:
        self._store.stopped = True
        self.cut_connections()

    def start_server(self) -> None:
        self._store.stopped = False

    def flip_interaction(self, agent_id: str, sequence: int, *, part: str, namespace: str) -> None:
        tenant = self._store.tenant(namespace)
        record = tenant.logs[agent_id][sequence]
        changes: dict[str, dict[str, Any]] = {
            "body": {"body": _flipped(record.body)},
            "id": {"id": record.id[:-1] + chr(ord(record.id[-1]) ^ 1)},
            "time": {"at_us": record.at_us ^ 1},
        }
        damage_record(tenant, agent_id, sequence, **changes[part])

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        self._flip(self._store.tenant(namespace), DocRef(agent_id, DocKind.STATE, ""))

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        self._flip(self._store.tenant(namespace), DocRef(agent_id, DocKind.LEARNING, key))

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        self._flip(self._store.tenant(namespace), DocRef(None, DocKind.SYSTEM, key))

    @staticmethod
    def _flip(tenant: Tenant, ref: DocRef) -> None:
        damage_document(tenant, ref, body=_flipped(tenant.documents[ref].body))


class TestFake(StorageConformance):
    @pytest.fixture
    def store(self) -> NetworkedStore:
        return NetworkedStore()

    @pytest.fixture
    def storage_source(self, store: NetworkedStore) -> Callable[..., NetworkedStorage]:
        return partial(NetworkedStorage, store)

    @pytest.fixture
    def storage_tamper(self, store: NetworkedStore) -> MemoryTamper:
        return MemoryTamper(store)
