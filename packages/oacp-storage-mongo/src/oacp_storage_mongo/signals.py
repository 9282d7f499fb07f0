"""Waking watchers: a change stream over the interactions of the namespace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from oacp_storage_mongo.errors import DRIVER_ERRORS, reading
from oacp_storage_mongo.store import Store

_QUIET_MS = 1000  # how long the server waits for news before it answers that there are none


async def signals(store: Store) -> AsyncIterator[str | None]:
    """Agents that have new interactions; None at the beginning. Ends with an error when the stream is lost.

    The driver takes up a stream that was cut where it ended. What is lost all the same is found by reading.
    """
    pipeline = [
        {"$match": {"operationType": "insert", "fullDocument.namespace": store.namespace}},
        {"$project": {"fullDocument.agent_id": 1}},
    ]
    try:
        stream = await store.driver.watch(store.interactions, pipeline, max_await_time_ms=_QUIET_MS)
        try:
            change = await stream.try_next()  # from here on it listens
            yield None
            while True:
                if change is not None:
                    yield (change.get("fullDocument") or {}).get("agent_id")
                change = await stream.try_next()
        finally:
            with suppress(*DRIVER_ERRORS):
                await stream.close()
    except DRIVER_ERRORS as exc:
        raise reading(exc) from exc
