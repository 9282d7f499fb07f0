"""The sessions of openai-agents: one session an agent, one item a message."""

from __future__ import annotations

import sqlite3
from typing import Any, ClassVar

from oacp_storage_bench.peers.base import Peer
from oacp_storage_bench.peers.postgres_schema import PostgresSchema
from oacp_storage_bench.raw.base import driver
from oacp_storage_bench.raw.redis import client, durability_of
from oacp_storage_core import Durability

_INSTALL = "'oacp-storage-bench[peers]'"
_SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


class _Sessions(Peer):
    """What all sessions share."""

    def __init__(self, place: Any) -> None:
        super().__init__(place)
        self._sessions: dict[str, Any] = {}

    def _make(self, agent: str) -> Any:
        raise NotImplementedError

    def _session(self, agent: str) -> Any:
        if agent not in self._sessions:
            self._sessions[agent] = self._make(agent)
        return self._sessions[agent]

    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """One item."""
        await self._session(agent).add_items([payload])

    async def newest(self, agent: str) -> str:
        """The last item."""
        (found,) = await self._session(agent).get_items(limit=1)
        return str(found["content"])


class OpenaiSqlite(_Sessions):
    """``SQLiteSession``; it sets the write-ahead log itself and leaves the rest to SQLite's defaults."""

    title = "openai-agents SQLiteSession"
    family = "sqlite"
    distributions: ClassVar[tuple[str, ...]] = ("openai-agents",)

    async def open(self) -> None:
        """Look at what SQLite's defaults are."""
        self._class = driver("agents.memory", _INSTALL).SQLiteSession
        self._path = self.place.directory / "peer-openai-agents.db"
        self._session("check")
        self.durability, self.settings = sqlite_default("WAL")

    def _make(self, agent: str) -> Any:
        return self._class(agent, db_path=self._path)

    async def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            session.close()


class _Sqlalchemy(_Sessions):
    """``SQLAlchemySession`` over one engine."""

    _engine: Any

    def _import(self) -> None:
        self._create = driver("sqlalchemy.ext.asyncio", _INSTALL).create_async_engine
        self._class = driver("agents.extensions.memory.sqlalchemy_session", _INSTALL).SQLAlchemySession

    def _make(self, agent: str) -> Any:
        return self._class(agent, engine=self._engine, create_tables=True)

    async def close(self) -> None:
        """Disconnect."""
        await self._engine.dispose()


class OpenaiSqlalchemySqlite(_Sqlalchemy):
    """On SQLite through aiosqlite."""

    title = "openai-agents SQLAlchemySession"
    family = "sqlite"
    distributions: ClassVar[tuple[str, ...]] = ("openai-agents", "sqlalchemy", "aiosqlite")

    async def open(self) -> None:
        """Make the engine."""
        self._import()
        self._engine = self._create(f"sqlite+aiosqlite:///{self.place.directory}/peer-openai-sqlalchemy.db")
        self.durability, self.settings = sqlite_default("WAL")


class OpenaiSqlalchemyPostgres(_Sqlalchemy):
    """On PostgreSQL through asyncpg, with a pool of 20 connections."""

    title = "openai-agents SQLAlchemySession"
    family = "postgres"
    distributions: ClassVar[tuple[str, ...]] = ("openai-agents", "sqlalchemy", "asyncpg")

    async def open(self) -> None:
        """Make the engine, on a schema of this run."""
        self._import()
        self._schema = PostgresSchema(self.place, "openai")
        self.durability, self.settings = await self._schema.make()
        path = {"server_settings": {"search_path": self._schema.name}}
        self._engine = self._create(sqlalchemy_url(str(self.place.url)), pool_size=20, connect_args=path)

    async def close(self) -> None:
        """Disconnect and drop the schema."""
        await super().close()
        await self._schema.drop()


class OpenaiRedis(_Sessions):
    """``RedisSession`` over one client."""

    title = "openai-agents RedisSession"
    family = "redis"
    distributions: ClassVar[tuple[str, ...]] = ("openai-agents", "redis")

    async def open(self) -> None:
        """Connect."""
        self._class = driver("agents.extensions.memory.redis_session", _INSTALL).RedisSession
        self._client = client(self.place.url)
        self.durability, self.settings = await durability_of(self._client)

    def _make(self, agent: str) -> Any:
        return self._class(agent, redis_client=self._client, key_prefix=f"{self.place.name}:openai")

    async def close(self) -> None:
        """Delete the sessions and disconnect."""
        for session in self._sessions.values():
            await session.clear_session()
        await self._client.aclose()


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy wants it for asyncpg."""
    return f"postgresql+asyncpg://{url.partition('://')[2]}"


def sqlite_default(journal: str) -> tuple[Durability, str]:
    """What SQLite does where a library leaves ``synchronous`` alone."""
    connection = sqlite3.connect(":memory:")
    level = int(connection.execute("PRAGMA synchronous").fetchone()[0])
    connection.close()
    return "power-cut" if level >= 2 else "crash", f"{journal}, synchronous={_SYNCHRONOUS[level]}"
