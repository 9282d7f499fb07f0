"""A second path into a MongoDB: a client of its own, the server's process, and the proxy in front of it."""

from __future__ import annotations

import time
from typing import Any

from pymongo import MongoClient

from mongo_testing import MongoProxy
from oacp_storage_conformance import Tamper
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_conformance.tamper import Part

_CUT_SECONDS = 0.25
WRITTEN = ("agents", "documents", "erasures", "interactions", "receipts", "tombstones")


def flipped(value: Any) -> Any:
    """The value with one bit changed; in bytes that of the last letter or digit, so that JSON stays JSON."""
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, str):
        return flipped(value.encode()).decode()
    for i in range(len(value) - 1, -1, -1):
        if chr(value[i]).isalnum():
            return bytes([*value[:i], value[i] ^ 1, *value[i + 1 :]])
    raise AssertionError(f"nothing to change in {value!r}")


class MongoTamper(Tamper):
    """Of one server of our own, and of one database in it."""

    network = True

    def __init__(self, server: MongoServer, proxy: MongoProxy, database: str) -> None:
        self._server = server
        self._proxy = proxy
        self._database = database
        self._cut_at = 0.0

    def flip_interaction(self, agent_id: str, sequence: int, *, part: Part, namespace: str) -> None:
        field = {"body": "body", "id": "id", "time": "at_us"}[part]
        where = {"agent_id": agent_id, "namespace": namespace, "sequence": sequence}
        self._flip("interactions", where, field)

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        self._flip("documents", {"agent_id": agent_id, "namespace": namespace, "kind": "state"}, "body")

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        where = {"agent_id": agent_id, "namespace": namespace, "kind": "learning", "key": key}
        self._flip("documents", where, "body")

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        self._flip("documents", {"namespace": namespace, "kind": "system", "key": key}, "body")

    def tear_tail(self, agent_id: str, *, namespace: str) -> None:
        """The server is killed in the middle of a transaction that writes the next interaction."""
        with self._client() as client:
            interactions = client[self._database].interactions
            where = {"agent_id": agent_id, "namespace": namespace}
            (last,) = interactions.find(where).sort("sequence", -1).limit(1)
            key = last["_id"]
            last["_id"] = key[:16] + (int.from_bytes(key[16:], "big") + 1).to_bytes(8, "big")
            last["sequence"] += 1
            with client.start_session() as session:
                session.start_transaction()
                interactions.insert_one(last, session=session)
                self._server.restart(crash=True)

    def set_schema_version(self, version: int) -> None:
        """As an upgrade by another release leaves it: the mark, and what each collection demands."""
        with self._client() as client:
            database = client[self._database]
            for name in WRITTEN:
                database.command("collMod", name, validator={"schema": version})
            database.meta.update_one({"_id": "schema"}, {"$set": {"version": version}})

    def cut_connections(self) -> None:
        """A few times a second, however often it is asked for.

        MongoDB's drivers need some round trips to know a server again, and a transaction some more: of connections that
        live for a hundredth of a second nothing would be seen but that they cannot be used.
        """
        if time.monotonic() - self._cut_at > _CUT_SECONDS:
            self._proxy.cut()
            self._cut_at = time.monotonic()

    def stop_server(self) -> None:
        self._server.nodes[0].kill()

    def start_server(self) -> None:
        self._server.start_node(0)
        self._server.primary()

    def _flip(self, collection: str, where: dict[str, Any], field: str) -> None:
        with self._client() as client:
            documents = client[self._database][collection]
            (found,) = documents.find(where)
            documents.update_one(
                {"_id": found["_id"]},
                {"$set": {field: flipped(found[field])}},
                bypass_document_validation=True,
            )

    def _client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(
            "127.0.0.1", self._server.ports[0], directConnection=True, w="majority", journal=True
        )
