"""Making something that must not be dropped halfway: it goes on when its caller is cancelled, and is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oacp_storage_engine.background import start_task

T = TypeVar("T")


async def uninterrupted(making: Awaitable[T], give_back: Callable[[T], object], name: str) -> T:
    """Await the making in a task called ``name``. What nobody waits for any more is given to ``give_back``.

    asyncpg leaves an exception that nobody retrieves, which the loop complains about, when connecting is cancelled.
    """
    made: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    start_task(_make(making, made, give_back), name)
    try:
        return await made
    except asyncio.CancelledError:
        if made.done() and not made.cancelled() and made.exception() is None:  # made in the very moment
            give_back(made.result())
        raise


async def _make(making: Awaitable[T], made: asyncio.Future[T], give_back: Callable[[T], object]) -> None:
    try:
        result = await making
    except Exception as exc:  # noqa: BLE001 - whoever awaits it gets it
        if not made.done():
            made.set_exception(exc)
        return
    except asyncio.CancelledError:
        made.cancel()
        raise
    if made.done():
        give_back(result)
    else:
        made.set_result(result)
