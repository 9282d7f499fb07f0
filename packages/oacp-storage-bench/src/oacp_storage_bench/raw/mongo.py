"""Bare MongoDB: insert_one and insert_many with write concern majority and journal, by the driver that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oacp_storage_bench.raw.base import Entry, Raw, driver


class RawMongo(Raw):
    """PyMongo's asynchronous client, in a database of this run; the payload is a part of each document."""

    name = "pymongo"
    slug = "mongo"

    async def open(self) -> None:
        """Connect and make the collections."""
        pymongo = driver("pymongo", "oacp-storage-mongo")
        self._client = pymongo.AsyncMongoClient(self.place.url, w="majority", journal=True)
        self._database = self._client[f"{self.place.name}_raw"]
        self._log = await self._database.create_collection("log")
        self._documents = await self._database.create_collection("documents")
        await self._log.create_index([("agent", 1), ("n", 1)], unique=True)
        self.durability = "power-cut"
        self.settings = "majority, journal"

    async def close(self) -> None:
        """Drop the database."""
        await self._client.drop_database(self._database)
        await self._client.close()

    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """insert_one, or insert_many of all."""
        if len(entries) == 1:
            await self._log.insert_one(self._row(*entries[0]))
        else:
            await self._log.insert_many([self._row(agent, payload) for agent, payload in entries])

    def _row(self, agent: str, payload: dict[str, Any]) -> dict[str, Any]:
        sequence, unique, at = self.stamp()
        return {"_id": unique, "agent": agent, "n": sequence, "at": at, "data": payload}

    async def put(self, key: str, document: dict[str, Any]) -> None:
        """replace_one, made where missing."""
        await self._documents.replace_one({"_id": key}, {"data": document}, upsert=True)

    async def get(self, key: str) -> dict[str, Any] | None:
        """find_one by its id."""
        found = await self._documents.find_one({"_id": key})
        return None if found is None else found["data"]

    async def last(self, agent: str, limit: int) -> list[dict[str, Any]]:
        """By the index, from its end."""
        found = await self._log.find({"agent": agent}).sort("n", -1).limit(limit).to_list()
        return [one["data"] for one in reversed(found)]

    async def count(self) -> int:
        """All documents of the log."""
        return int(await self._log.count_documents({}))
