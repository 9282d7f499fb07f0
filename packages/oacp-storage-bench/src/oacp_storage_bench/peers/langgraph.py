"""LangGraph's stores: an item for each message, in the agent's namespace. They gather writes by themselves."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, ClassVar
from uuid import uuid4

from oacp_storage_bench.peers.base import Peer
from oacp_storage_bench.peers.postgres_schema import PostgresSchema, with_search_path
from oacp_storage_bench.raw.base import driver
from oacp_storage_bench.raw.sqlite import DESCRIBED, SETTINGS

_INSTALL = "'oacp-storage-bench[peers]'"


class _LangGraph(Peer):
    """What both stores share: the interface of ``BaseStore``."""

    _store: Any

    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """A put under a new key."""
        await self._store.aput((agent,), str(uuid4()), payload)

    async def newest(self, agent: str) -> str:
        """A search in the namespace is in the order of updates, the newest first."""
        (found,) = await self._store.asearch((agent,), limit=1)
        return str(found.value["content"])


class LangGraphSqlite(_LangGraph):
    """``AsyncSqliteStore``, with the write-ahead log and synchronous=FULL."""

    title = "LangGraph AsyncSqliteStore"
    family = "sqlite"
    distributions: ClassVar[tuple[str, ...]] = ("langgraph-checkpoint-sqlite", "aiosqlite")

    async def open(self) -> None:
        """Make the database."""
        module = driver("langgraph.store.sqlite.aio", _INSTALL)
        self._stack = AsyncExitStack()
        path = str(self.place.directory / "peer-langgraph.db")
        self._store = await self._stack.enter_async_context(module.AsyncSqliteStore.from_conn_string(path))
        for statement in SETTINGS:
            await self._store.conn.execute(statement)
        await self._store.setup()
        self.durability, self.settings = "power-cut", DESCRIBED

    async def close(self) -> None:
        """Close the database."""
        await self._stack.aclose()


class LangGraphPostgres(_LangGraph):
    """``AsyncPostgresStore`` with a pool of up to 20 connections."""

    title = "LangGraph AsyncPostgresStore"
    family = "postgres"
    distributions: ClassVar[tuple[str, ...]] = ("langgraph-checkpoint-postgres", "psycopg")

    async def open(self) -> None:
        """Make its tables, in a schema of this run."""
        module = driver("langgraph.store.postgres.aio", _INSTALL)
        self._schema = PostgresSchema(self.place, "langgraph")
        self.durability, self.settings = await self._schema.make()
        self._stack = AsyncExitStack()
        url = with_search_path(str(self.place.url), self._schema.name)
        pool = {"min_size": 5, "max_size": 20}
        self._store = await self._stack.enter_async_context(
            module.AsyncPostgresStore.from_conn_string(url, pool_config=pool)
        )
        await self._store.setup()

    async def close(self) -> None:
        """Disconnect and drop the schema."""
        await self._stack.aclose()
        await self._schema.drop()
