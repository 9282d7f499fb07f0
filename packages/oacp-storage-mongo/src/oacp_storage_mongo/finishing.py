"""Writes that go on to their end, whoever stops waiting for them.

A transaction that is left in the middle would hold what it wrote for a minute, and a statement in one of Motor's
threads cannot be stopped. So each write runs in a task of its own, which ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from oacp_storage_engine import Unknown
from oacp_storage_engine.background import start_task

T = TypeVar("T")


class Finishing:
    """The writes of one engine that are under way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        """Await the work until the deadline; ``Unknown`` when it has not ended by then. It goes on all the same."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()
        self._under_way.add(ended)
        ended.add_done_callback(self._under_way.discard)
        start_task(_finish(work, outcome, ended), "oacp-storage write")
        try:
            async with asyncio.timeout_at(deadline):
                return await outcome
        except TimeoutError as exc:
            raise Unknown("MongoDB did not answer in time") from exc

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)


async def _finish(
    work: Coroutine[Any, Any, T], outcome: asyncio.Future[T], ended: asyncio.Future[None]
) -> None:
    try:
        result = await work
    except asyncio.CancelledError:
        outcome.cancel()
        raise
    except Exception as exc:
        if not outcome.done():
            outcome.set_exception(exc)
    else:
        if not outcome.done():
            outcome.set_result(result)
    finally:
        if not ended.done():
            ended.set_result(None)
