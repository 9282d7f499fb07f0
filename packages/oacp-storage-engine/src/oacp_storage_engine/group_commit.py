"""Group commit: calls that arrive while a commit is under way are committed together in the next one.

One ``GroupCommit`` is one lane: its units commit in the order of their calls, one group at a time, without
artificial delay. Each caller is answered after its own commit. What waits is bounded: when the queue is full,
callers wait their turn before their payload is even encoded.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Sequence

from oacp_storage_core import StorageError, StorageTimeoutError

from oacp_storage_engine.primitives import Engine, Outcome, Rejected, Unit
from oacp_storage_engine.resend import resend

MAX_QUEUED_BYTES = 16 * 1024 * 1024
MAX_QUEUED_UNITS = 20_000


class _Pending:
    """A unit that waits for its commit, with the future that its caller awaits."""

    __slots__ = ("deadline", "future", "size", "unit")

    def __init__(self, unit: Unit, size: int, deadline: float, future: asyncio.Future[Outcome]) -> None:
        self.unit = unit
        self.size = size
        self.deadline = deadline
        self.future = future


class GroupCommit:
    """One lane of commits into an engine.

    ``applied`` is called with the units of every finished group, before their callers are answered.
    """

    def __init__(self, engine: Engine, applied: Callable[[Sequence[Unit]], None]) -> None:
        self._engine = engine
        self._applied = applied
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Pending] = deque()
        self._queued_bytes = 0
        self._turnstile: deque[asyncio.Future[None]] = deque()
        self._entering = 0
        self._runner: asyncio.Task[None] | None = None

    @property
    def crowded(self) -> bool:
        """Whether a new call has to wait in ``enter`` before it may ``submit``."""
        return bool(self._entering or self._turnstile) or self._full

    @property
    def _full(self) -> bool:
        return self._queued_bytes >= MAX_QUEUED_BYTES or len(self._queue) >= MAX_QUEUED_UNITS

    async def enter(self, deadline: float) -> None:
        """Wait, in the order of calls, until there is room; then ``submit`` without awaiting in between."""
        place: asyncio.Future[None] = self._loop.create_future()
        self._turnstile.append(place)
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except TimeoutError:
            raise StorageTimeoutError(
                "the queue of writes was full for the whole timeout; nothing was changed: write less at "
                "once, or raise timeout="
            ) from None
        finally:
            if place.done() and not place.cancelled():
                self._entering -= 1
            else:
                self._turnstile.remove(place)
            self._let_in()

    def submit(self, unit: Unit, size: int, deadline: float) -> asyncio.Future[Outcome]:
        """Queue the unit (``size`` bytes of bodies); the future ends with its outcome or a ``StorageError``.

        Cancelling the future before its group is sent takes the unit back; afterwards it changes nothing.
        """
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._queue.append(_Pending(unit, size, deadline, future))
        self._queued_bytes += size
        if self._runner is None:
            self._runner = self._loop.create_task(self._run(), name="oacp-storage group commit")
        return future

    async def drain(self) -> None:
        """Wait until everything submitted is answered."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        group: list[_Pending] = []
        try:
            while group := self._take():
                await self._commit(group)
                await asyncio.sleep(0)  # callers just answered may join the next group
        finally:
            self._runner = None
            for pending in (*group, *self._queue):  # only when cancelled: the loop is being shut down
                pending.future.cancel()

    def _take(self) -> list[_Pending]:
        """The next group: in order, bounded in bytes and units, without calls that were given up."""
        group: list[_Pending] = []
        room = self._engine.max_group_bytes
        now = self._loop.time()
        while self._queue and len(group) < self._engine.max_group_units:
            pending = self._queue[0]
            if group and pending.size > room:
                break
            self._queue.popleft()
            self._queued_bytes -= pending.size
            if pending.future.done():
                continue
            if pending.deadline <= now:
                pending.future.set_exception(
                    StorageTimeoutError("waited its whole timeout behind other writes; nothing was changed")
                )
                continue
            room -= pending.size
            group.append(pending)
        self._let_in()
        return group

    def _let_in(self) -> None:
        """Wake as many waiting calls as there is room for, assuming they are as large as those queued."""
        if not self._turnstile or self._full:
            return
        typical = self._queued_bytes // len(self._queue) + 1 if self._queue else MAX_QUEUED_BYTES // 16
        room = min((MAX_QUEUED_BYTES - self._queued_bytes) // typical, MAX_QUEUED_UNITS - len(self._queue))
        while self._turnstile and self._entering < max(room, 1):
            place = self._turnstile.popleft()
            if not place.done():
                place.set_result(None)
                self._entering += 1

    async def _commit(self, group: list[_Pending]) -> None:
        units = [pending.unit for pending in group]
        deadline = group[0].deadline
        try:
            outcomes = await resend(
                lambda attempt: self._engine.commit(attempt, units, deadline=deadline), deadline
            )
        except Rejected as exc:
            if len(group) > 1:  # one unit the store cannot take must not fail the others
                for pending in group:
                    if not pending.future.done():
                        await self._commit([pending])
                return
            _fail(group, exc)
        except StorageError as exc:
            _fail(group, exc)
        else:
            self._applied(units)
            for pending, outcome in zip(group, outcomes, strict=True):
                if not pending.future.done():
                    pending.future.set_result(outcome)


def _fail(group: list[_Pending], error: StorageError) -> None:
    """Give every caller an error of its own, so that tracebacks do not grow into each other."""
    for pending in group:
        if not pending.future.done():
            own = copy.copy(error)
            own.__cause__ = error.__cause__
            pending.future.set_exception(own)
