"""Bare redis-py: XADD to one stream an agent, each alone or many in a pipeline; documents by SET and GET."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from oacp_storage_bench.payloads import encode
from oacp_storage_bench.raw.base import Entry, Raw, Unavailable, driver
from oacp_storage_core import Durability


class RawRedis(Raw):
    """redis-py on one connection; its own retries are off, as they would write twice."""

    name = "redis-py"
    slug = "redis"

    async def open(self) -> None:
        """Connect, and read what the server does at a write."""
        self._client = client(self.place.url)
        self._streams: set[str] = set()
        self._documents: set[str] = set()
        self.durability, self.settings = await durability_of(self._client)

    async def close(self) -> None:
        """Delete the keys."""
        for key in self._streams | self._documents:
            await self._client.unlink(key)
        await self._client.aclose()

    async def forget(self, agents: Sequence[str]) -> None:
        """Unlink their streams."""
        for agent in agents:
            await self._client.unlink(self._stream(agent))

    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """One XADD, or a pipeline of them."""
        if len(entries) == 1:
            ((agent, payload),) = entries
            await self._client.xadd(self._stream(agent), self._fields(payload))
        else:
            await self._pipeline(entries, transaction=False)

    async def bulk(self, entries: Sequence[Entry]) -> None:
        """One MULTI, so that it is all or nothing as with us."""
        await self._pipeline(entries, transaction=True)

    async def _pipeline(self, entries: Sequence[Entry], *, transaction: bool) -> None:
        async with self._client.pipeline(transaction=transaction) as pipeline:
            for agent, payload in entries:
                pipeline.xadd(self._stream(agent), self._fields(payload))
            await pipeline.execute()

    def _stream(self, agent: str) -> str:
        stream = f"{self.place.name}:raw:log:{agent}"
        self._streams.add(stream)
        return stream

    def _fields(self, payload: dict[str, Any]) -> dict[str, Any]:
        _, unique, at = self.stamp()
        return {"id": unique, "at": at, "body": encode(payload)}

    async def put(self, key: str, document: dict[str, Any]) -> None:
        """SET."""
        name = f"{self.place.name}:raw:document:{key}"
        self._documents.add(name)
        await self._client.set(name, encode(document))

    async def get(self, key: str) -> dict[str, Any] | None:
        """GET."""
        body = await self._client.get(f"{self.place.name}:raw:document:{key}")
        return None if body is None else msgspec.json.decode(body)

    async def last(self, agent: str, limit: int) -> list[dict[str, Any]]:
        """XREVRANGE."""
        found = await self._client.xrevrange(self._stream(agent), count=limit)
        return [msgspec.json.decode(fields[b"body"]) for _, fields in reversed(found)]

    async def count(self) -> int:
        """The lengths of all streams."""
        return sum([int(await self._client.xlen(stream)) for stream in self._streams])


def client(url: str | None) -> Any:
    """An asynchronous client without retries; ``Unavailable`` for clusters and sentinels."""
    redis = driver("redis.asyncio", "oacp-storage-redis")
    if url is None or not url.startswith(("redis://", "rediss://")):
        raise Unavailable(
            "the raw part and the peers know single Redis servers only: redis:// and rediss:// URLs"
        )
    retry = driver("redis.asyncio.retry", "oacp-storage-redis").Retry
    backoff = driver("redis.backoff", "oacp-storage-redis").NoBackoff
    return redis.Redis.from_url(url, retry=retry(backoff(), 0))


async def durability_of(connection: Any) -> tuple[Durability, str]:
    """What a write survives, and the settings that say so."""
    exceptions = driver("redis.exceptions", "oacp-storage-redis")
    try:
        told = await connection.config_get("append*")
    except exceptions.ResponseError:
        return "unknown", "CONFIG GET is forbidden"
    settings = {_text(name): _text(value) for name, value in told.items()}
    if settings.get("appendonly") != "yes":
        return "none", "no AOF"
    fsync = settings.get("appendfsync")
    return "power-cut" if fsync == "always" else "crash", f"AOF {fsync}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
