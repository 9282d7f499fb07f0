"""LlamaIndex's chat stores: one chat an agent, one ChatMessage a message."""

from __future__ import annotations

from typing import Any, ClassVar

from oacp_storage_bench.peers.base import Peer
from oacp_storage_bench.peers.openai_agents import sqlalchemy_url, sqlite_default
from oacp_storage_bench.peers.postgres_schema import PostgresSchema
from oacp_storage_bench.raw.base import driver
from oacp_storage_bench.raw.redis import client, durability_of

_INSTALL = "'oacp-storage-bench[peers]'"


class _ChatStore(Peer):
    """What all chat stores share."""

    _store: Any
    prefix = ""

    def _import(self, module: str) -> Any:
        self._message = driver("llama_index.core.base.llms.types", _INSTALL).ChatMessage
        return driver(f"llama_index.storage.chat_store.{module}", _INSTALL)

    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """One message; what is not its text goes with it as further arguments."""
        more = {key: value for key, value in payload.items() if key not in ("role", "content")}
        message = self._message(role=payload["role"], content=payload["content"], additional_kwargs=more)
        await self._store.async_add_message(self.prefix + agent, message)

    async def newest(self, agent: str) -> str:
        """The last of all: there is no reading of some."""
        return str((await self._store.aget_messages(self.prefix + agent))[-1].content)


class LlamaSqlite(_ChatStore):
    """``SQLiteChatStore``, with SQLite's defaults."""

    title = "llama-index SQLiteChatStore"
    family = "sqlite"
    distributions: ClassVar[tuple[str, ...]] = (
        "llama-index-storage-chat-store-sqlite",
        "sqlalchemy",
        "aiosqlite",
    )

    async def open(self) -> None:
        """Make the database."""
        store = self._import("sqlite").SQLiteChatStore
        self._store = store.from_params(database=str(self.place.directory / "peer-llama-index.db"))
        self.durability, self.settings = sqlite_default("rollback journal")

    async def close(self) -> None:
        """It has no way to be closed: its connections end with this process."""


class LlamaPostgres(_ChatStore):
    """``PostgresChatStore``, with SQLAlchemy's default pool."""

    title = "llama-index PostgresChatStore"
    family = "postgres"
    distributions: ClassVar[tuple[str, ...]] = (
        "llama-index-storage-chat-store-postgres",
        "sqlalchemy",
        "asyncpg",
    )

    async def open(self) -> None:
        """Make its table, in a schema of this run."""
        store = self._import("postgres").PostgresChatStore
        self._schema = PostgresSchema(self.place, "llama")
        self.durability, self.settings = await self._schema.make()
        url = sqlalchemy_url(str(self.place.url))
        self._store = store.from_params(
            connection_string=url.replace("+asyncpg", "+psycopg"),
            async_connection_string=url,
            schema_name=self._schema.name,
        )

    async def close(self) -> None:
        """Drop the schema; its connections end with this process."""
        await self._schema.drop()


class LlamaRedis(_ChatStore):
    """``RedisChatStore``."""

    title = "llama-index RedisChatStore"
    family = "redis"
    distributions: ClassVar[tuple[str, ...]] = ("llama-index-storage-chat-store-redis", "redis")

    async def open(self) -> None:
        """Connect."""
        store = self._import("redis").RedisChatStore
        self.prefix = f"{self.place.name}:llama:"
        self._store = store(redis_url=str(self.place.url))
        self._client = client(self.place.url)
        self.durability, self.settings = await durability_of(self._client)

    async def close(self) -> None:
        """Delete the chats; its own connections end with this process."""
        async for key in self._client.scan_iter(match=f"{self.prefix}*", count=1000):
            await self._client.unlink(key)
        await self._client.aclose()
