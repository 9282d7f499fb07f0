"""py-key-value-aio: a collection an agent, a key for each message."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from oacp_storage_bench.peers.base import Peer
from oacp_storage_bench.peers.postgres_schema import PostgresSchema, with_search_path
from oacp_storage_bench.raw.base import driver
from oacp_storage_bench.raw.redis import client, durability_of

_INSTALL = "'oacp-storage-bench[peers]'"


class _KeyValue(Peer):
    """What all stores share."""

    _store: Any

    def __init__(self, place: Any) -> None:
        super().__init__(place)
        self._newest: dict[str, str] = {}

    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """A put under a new key."""
        key = str(uuid4())
        await self._store.put(key=key, value=payload, collection=agent)
        self._newest[agent] = key

    async def newest(self, agent: str) -> str:
        """By its key: these stores keep no order."""
        found = await self._store.get(key=self._newest[agent], collection=agent)
        return str(found["content"])


class KeyValueDisk(_KeyValue):
    """``DiskStore``, over a diskcache that syncs at every write."""

    title = "py-key-value-aio DiskStore"
    family = "file"
    distributions: ClassVar[tuple[str, ...]] = ("py-key-value-aio", "diskcache")

    async def open(self) -> None:
        """Make the directory. diskcache keeps all but large values in SQLite, by default at synchronous=NORMAL."""
        store = driver("key_value.aio.stores.disk", _INSTALL).DiskStore
        cache = driver("diskcache", _INSTALL).Cache
        directory = self.place.directory / "peer-key-value"
        self._cache = cache(str(directory), eviction_policy="none", sqlite_synchronous=2)
        self._store = store(disk_cache=self._cache)
        self.durability, self.settings = "power-cut", "diskcache, sqlite_synchronous=2"

    async def close(self) -> None:
        """Close the database."""
        self._cache.close()


class KeyValuePostgres(_KeyValue):
    """``PostgreSQLStore`` with the pool that it makes."""

    title = "py-key-value-aio PostgreSQLStore"
    family = "postgres"
    distributions: ClassVar[tuple[str, ...]] = ("py-key-value-aio", "asyncpg")

    async def open(self) -> None:
        """Make its table, in a schema of this run."""
        store = driver("key_value.aio.stores.postgresql", _INSTALL).PostgreSQLStore
        self._schema = PostgresSchema(self.place, "key_value")
        self.durability, self.settings = await self._schema.make()
        self._store = store(url=with_search_path(str(self.place.url), self._schema.name))
        await self._store.__aenter__()

    async def close(self) -> None:
        """Disconnect and drop the schema."""
        await self._store.__aexit__(None, None, None)
        await self._schema.drop()


class KeyValueRedis(_KeyValue):
    """``RedisStore`` with the client that it makes."""

    title = "py-key-value-aio RedisStore"
    family = "redis"
    distributions: ClassVar[tuple[str, ...]] = ("py-key-value-aio", "redis")

    async def open(self) -> None:
        """Connect."""
        store = driver("key_value.aio.stores.redis", _INSTALL).RedisStore
        self._store = store(url=str(self.place.url))
        await self._store.__aenter__()
        self._client = client(self.place.url)
        self.durability, self.settings = await durability_of(self._client)

    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """In a collection of this run."""
        await super().append(f"{self.place.name}-{agent}", payload)

    async def newest(self, agent: str) -> str:
        """From the collection of this run."""
        return await super().newest(f"{self.place.name}-{agent}")

    async def close(self) -> None:
        """Delete the keys and disconnect."""
        await self._store.__aexit__(None, None, None)
        async for key in self._client.scan_iter(match=f"*{self.place.name}-*", count=1000):
            await self._client.unlink(key)
        await self._client.aclose()
