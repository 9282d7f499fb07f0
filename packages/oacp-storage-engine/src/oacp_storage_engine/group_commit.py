"""Group commit: calls that arrive while a commit is under way are committed together in the next one.

One ``GroupCommit`` is one lane: its units commit in the order of their calls, one group at a time, without
artificial delay. Each caller is answered after its own commit. What waits is bounded: when the queue is full,
callers wait at a turnstile before their payload is even encoded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from oacp_storage_core import StorageError, StorageTimeoutError
from oacp_storage_engine.background import start_task
from oacp_storage_engine.failure import own_copy, public
from oacp_storage_engine.primitives import Engine, NotApplied, Outcome, Rejected, Unit, Unknown
from oacp_storage_engine.resend import Sending, defect, resend
from oacp_storage_engine.turnstile import Turnstile

MAX_QUEUED_BYTES = 16 * 1024 * 1024
MAX_QUEUED_UNITS = 20_000

T = TypeVar("T")
Step = Callable[[str, float], Awaitable[T]]
"""A write of its own, ``step(attempt, deadline)``, which may be called again with the same attempt."""


class _Pending:
    """A unit (or a step) that waits for its turn, with the future that its caller awaits."""

    __slots__ = ("deadline", "future", "size", "work")

    def __init__(
        self, work: Unit | Step[Any], size: int, deadline: float, future: asyncio.Future[Any]
    ) -> None:
        self.work = work
        self.size = size
        self.deadline = deadline
        self.future = future


class GroupCommit:
    """One lane of commits into an engine.

    ``applied`` is called with the units of every finished group, before their callers are answered.
    ``least_time`` is the seconds that a sending gets although its first caller's time is nearly over: it would
    rarely succeed in less, and the callers behind would pay for the attempt.
    """

    def __init__(
        self, engine: Engine, applied: Callable[[Sequence[Unit]], None], *, least_time: float = 0.0
    ) -> None:
        self._engine = engine
        self._applied = applied
        self._least_time = least_time
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Pending] = deque()
        self._queued_bytes = 0
        self._turnstile = Turnstile(self._has_room)
        self._runner: asyncio.Task[None] | None = None

    @property
    def crowded(self) -> bool:
        """Whether a new call has to ``enter`` before it may ``submit``."""
        return self._turnstile.blocked

    async def enter(self, deadline: float) -> None:
        """Wait, in the order of calls, until there is room; then ``submit`` without awaiting in between."""
        try:
            await self._turnstile.enter(deadline)
        except TimeoutError:
            raise StorageTimeoutError(
                "the queue of writes was full for the whole timeout; nothing was changed: write less at once, "
                "or raise timeout="
            ) from None

    def submit(self, unit: Unit, size: int, deadline: float) -> asyncio.Future[Outcome]:
        """Queue the unit (``size`` bytes of bodies); the future ends with its outcome or a ``StorageError``.

        Cancelling the future before its group is sent takes the unit back; afterwards it changes nothing.
        """
        return self._append(unit, size, deadline)

    def perform(self, step: Step[T], deadline: float) -> asyncio.Future[T]:
        """Queue a write besides units, which takes its turn among them; otherwise as ``submit``."""
        return self._append(step, 0, deadline)

    async def drain(self) -> None:
        """Wait until everything submitted is answered."""
        while self._runner is not None and (not self._runner.done() or self._is_awaited):
            await asyncio.wait([self._runner])
            await asyncio.sleep(0)  # another one takes over what a cancelled one left

    def give_up(self, error: StorageError) -> None:
        """Answer all callers although nothing more will be sent: with ``error`` what was not sent."""
        _fail(self._queue, error)
        self._queue.clear()
        self._queued_bytes = 0
        self._turnstile.turn_away(error)
        if self._runner is not None:
            self._runner.cancel()

    def _append(self, work: Unit | Step[Any], size: int, deadline: float) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.append(_Pending(work, size, deadline, future))
        self._queued_bytes += size
        if self._runner is None or self._runner.done():
            self._start()
        return future

    def _has_room(self) -> bool:
        return self._queued_bytes < MAX_QUEUED_BYTES and len(self._queue) < MAX_QUEUED_UNITS

    def _start(self) -> None:
        self._runner = start_task(self._run(), "oacp-storage group commit")
        self._runner.add_done_callback(self._take_over)

    def _take_over(self, runner: asyncio.Task[None]) -> None:
        """Go on where a runner was cancelled; it may not even have begun."""
        if runner is self._runner and self._is_awaited:
            self._start()

    @property
    def _is_awaited(self) -> bool:
        return any(not pending.future.done() for pending in self._queue)

    async def _run(self) -> None:
        while group := self._take():
            try:
                if isinstance(group[0].work, Unit):
                    await self._commit(group)
                else:
                    await self._perform(group[0], group[0].work)
            except asyncio.CancelledError:
                _fail(group, Sending().interrupted())  # what was sent is answered already
                raise
            except Exception as exc:
                _fail(group, defect(exc))
                raise
            group.clear()  # it may be large, and callers go on now
            await asyncio.sleep(0)  # those just answered may join the next group

    def _take(self) -> list[_Pending]:
        """The next group: in order, bounded in bytes and units, without calls that were given up.

        A step makes a group of its own.
        """
        group: list[_Pending] = []
        room = self._engine.max_group_bytes
        now = self._loop.time()
        while self._queue and len(group) < self._engine.max_group_units:
            pending = self._queue[0]
            is_unit = isinstance(pending.work, Unit)
            if group and (pending.size > room or not is_unit):
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
            if not is_unit:
                break
        self._turnstile.let_in()
        return group

    async def _commit(self, group: list[_Pending]) -> None:
        """Send the units until each caller is answered. Those whose time is over are answered in between."""
        sending = Sending()
        try:
            while group:
                units = [pending.work for pending in group if isinstance(pending.work, Unit)]
                try:
                    outcomes = await self._send(sending, units, self._deadline(group))
                except (NotApplied, Unknown) as exc:
                    group = await self._pause(sending, group, exc)
                else:
                    self._answer(group, units, outcomes)
                    return
        except asyncio.CancelledError:
            _fail(group, sending.interrupted())
            raise
        except Rejected as exc:
            if len(group) == 1:
                _refuse(group[0], exc)
                return
            middle = len(group) // 2  # one unit that the store cannot take must not fail the others
            await self._commit(group[:middle])
            await self._commit(group[middle:])
        except StorageError as exc:
            _fail(group, exc)

    async def _pause(self, sending: Sending, group: list[_Pending], last: StorageError) -> list[_Pending]:
        """Wait before sending again, and return what is to be sent. Those whose time is over are answered."""
        pause = sending.next_pause()
        late = self._loop.time() + pause
        _fail([pending for pending in group if pending.deadline <= late], sending.too_late(last))
        if group[-1].deadline <= late:
            return []
        await asyncio.sleep(pause)
        if sending.maybe_applied:
            return group
        return [pending for pending in group if not pending.future.done()]

    def _answer(
        self, group: list[_Pending], units: list[Unit], outcomes: Sequence[Outcome | Rejected]
    ) -> None:
        self._applied(units)
        for pending, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                _refuse(pending, outcome)
            elif not pending.future.done():
                pending.future.set_result(outcome)

    async def _send(
        self, sending: Sending, units: list[Unit], deadline: float
    ) -> Sequence[Outcome | Rejected]:
        async def call(attempt: str) -> Sequence[Outcome | Rejected]:
            outcomes = await self._engine.commit(attempt, units, deadline=deadline)
            if len(outcomes) != len(units):
                raise TypeError(f"{len(outcomes)} outcomes for {len(units)} units")
            return outcomes

        return await sending.send(call, deadline)

    def _deadline(self, group: list[_Pending]) -> float:
        """When a sending has to be over: in time for the first who still waits for it."""
        first = next((pending for pending in group if not pending.future.done()), group[-1])
        return max(first.deadline, self._loop.time() + self._least_time)

    async def _perform(self, pending: _Pending, step: Step[Any]) -> None:
        sending = Sending()
        try:
            result = await resend(lambda attempt: step(attempt, pending.deadline), pending.deadline, sending)
        except asyncio.CancelledError:
            _fail([pending], sending.interrupted())
            raise
        except StorageError as exc:
            _fail([pending], exc)
        else:
            if not pending.future.done():
                pending.future.set_result(result)


def _refuse(pending: _Pending, cause: Rejected) -> None:
    refused = public(cause, "the write")
    refused.__cause__ = cause
    _fail([pending], refused)


def _fail(group: Sequence[_Pending] | deque[_Pending], error: StorageError) -> None:
    """Give every caller who still waits an error of its own."""
    for pending in group:
        if not pending.future.done():
            pending.future.set_exception(own_copy(error))
