"""Calls of the driver that go on to their end, whoever stops waiting for them.

Neither driver can be cancelled in the middle: PyMongo loses connections, or the cancellation itself, and a statement in
one of Motor's threads cannot be stopped. A transaction left in the middle would hold what it wrote for a minute. So
whatever uses the driver runs in a task of its own, which ends by itself. What writes asks its ``Sending`` before each
statement whether somebody still waits for it, so that it does not go on writing beside its own repetition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from oacp_storage_engine import NotApplied, Unknown
from oacp_storage_engine.background import start_task

T = TypeVar("T")
_FRESH_SECONDS = 600.0
_awaited: ContextVar[asyncio.Future[Any] | None] = ContextVar("_awaited", default=None)
"""What is awaited of the read that runs."""


def nobody_waits() -> bool:
    """Whether this runs within a read whose caller was cancelled, so that there is nothing to find out any more."""
    outcome = _awaited.get()
    return outcome is not None and outcome.cancelled()


class Sending:
    """One call that writes: until when it may, and whether it has begun to."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.begun = False
        self._left = False
        self.look()

    def look(self) -> None:
        """From now on is read, or remembered, what the next statement relies on."""
        self._looked = time.monotonic(), time.time()

    def check(self) -> None:
        """Raise ``NotApplied`` when nobody waits for this any more, or what it relies on may be out of date.

        That is so after ten minutes by one of two clocks: one stands still while the machine sleeps.
        """
        if self._left or asyncio.get_running_loop().time() >= self.deadline:
            raise NotApplied("the time for a write was over before it was sent")
        ticks, seconds = self._looked
        if time.monotonic() - ticks > _FRESH_SECONDS or abs(time.time() - seconds) > _FRESH_SECONDS:
            raise NotApplied("the machine slept, or its clock was set, before a write was sent")

    def begin(self) -> None:
        """As ``check``; call this just before what writes is sent, without awaiting in between."""
        self.check()
        self.begun = True

    def leave(self) -> None:
        """Nobody waits for it any more."""
        self._left = True


class Finishing:
    """What one engine has under way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()
        self.ending = False

    async def read(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await ``work()``. Cancelling this leaves it alone, but for what has not begun (``nobody_waits``)."""
        return await self._start(work, read=True)

    async def write(self, work: Callable[[Sending], Awaitable[T]], deadline: float) -> T:
        """As ``read``, until the deadline. Not ended by then: ``Unknown``, or ``NotApplied`` if it had not begun."""
        sending = Sending(deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._start(lambda: work(sending))
        except TimeoutError as exc:
            kind = Unknown if sending.begun else NotApplied
            raise kind("MongoDB did not answer in time") from exc
        finally:
            sending.leave()

    def leave(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin ``work()``, and wait for it in ``ended`` only; it should look at ``ending`` now and then."""
        self._start(work)

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        self.ending = True
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _start(self, work: Callable[[], Awaitable[T]], *, read: bool = False) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()
        self._under_way.add(ended)
        ended.add_done_callback(self._under_way.discard)
        start_task(_finish(work, outcome, ended, read), "oacp-storage asks MongoDB")
        return outcome


async def _finish(
    work: Callable[[], Awaitable[T]], outcome: asyncio.Future[T], ended: asyncio.Future[None], read: bool
) -> None:
    _awaited.set(outcome if read else None)
    try:
        result = await work()
    except asyncio.CancelledError:
        outcome.cancel()
        raise
    except Exception as exc:  # noqa: BLE001 - whoever waits gets it, whatever it is
        if not outcome.done():
            outcome.set_exception(exc)
            outcome.exception()  # whether somebody looks at it or not
    else:
        if not outcome.done():
            outcome.set_result(result)
    finally:
        if not ended.done():
            ended.set_result(None)
