"""Waking watchers: a change stream over the interactions of the namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

from oacp_storage_mongo.errors import DRIVER_ERRORS, reading
from oacp_storage_mongo.store import Store

_QUIET_MS = 250  # how long the server waits for news before it answers that there are none


async def signals(store: Store) -> AsyncIterator[str | None]:
    """Agents that have new interactions; None at the beginning. Ends with an error when the stream is lost.

    The driver takes up a stream that was cut where it ended. What is lost all the same is found by reading.
    """
    stream = _Stream(store)
    try:
        await store.finishing.read(stream.open)
        yield None
        while True:
            change = await store.finishing.read(stream.next)
            if change is not None:
                yield (change.get("fullDocument") or {}).get("agent_id")
    finally:
        store.finishing.leave(stream.close)


class _Stream:
    """The change stream, used by one at a time although whoever waits for it may be cancelled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._using = asyncio.Lock()
        self._stream: Any = None

    async def open(self) -> None:
        """From here on it listens."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"operationType": "insert", "fullDocument.namespace": self._store.namespace}},
            {"$project": {"fullDocument.agent_id": 1}},
        ]
        watch = partial(self._store.driver.watch, self._store.interactions, pipeline)
        async with self._using:
            try:
                self._stream = await watch(max_await_time_ms=_QUIET_MS)
                await self._stream.try_next()
            except DRIVER_ERRORS as exc:
                raise reading(exc) from exc

    async def next(self) -> dict[str, Any] | None:
        """The next change, or None when there is none for a moment."""
        async with self._using:
            try:
                change: dict[str, Any] | None = await self._stream.try_next()
            except DRIVER_ERRORS as exc:
                raise reading(exc) from exc
        return change

    async def close(self) -> None:
        """Close it, when nothing uses it any more."""
        async with self._using:
            if self._stream is not None:
                with suppress(*DRIVER_ERRORS):
                    await self._stream.close()
