"""The runtime: an open engine in one event loop of one process, with its lanes and watchers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oacp_storage_core import StorageClosedError, StorageConnectionError, StorageError, StorageTimeoutError

from oacp_storage_engine.group_commit import GroupCommit
from oacp_storage_engine.primitives import Engine, NotApplied, Outcome, Slot, Unit, Unknown
from oacp_storage_engine.resend import resend
from oacp_storage_engine.watch_hub import WatchHub

T = TypeVar("T")

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0


class Runtime:
    """Everything of a storage that belongs to one loop and one process.

    ``timeout`` is the seconds that one call may take.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self.hub = WatchHub(engine)
        self._lanes = [GroupCommit(engine, self.hub.committed) for _ in range(engine.lanes)]
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._closing = False

    @classmethod
    async def open(cls, engine: Engine, timeout: float) -> Runtime:
        """Open the engine within ``timeout`` seconds; a failure leaves nothing open."""
        try:
            async with asyncio.timeout(timeout):
                await engine.open()
        except BaseException as exc:
            await engine.close()
            if isinstance(exc, NotApplied | Unknown):
                raise StorageConnectionError(str(exc)) from exc
            if isinstance(exc, TimeoutError) and not isinstance(exc, StorageError):
                raise StorageTimeoutError(f"the store could not be opened within {timeout:g} s") from exc
            raise
        return cls(engine, timeout)

    def deadline(self) -> float:
        """When a call that begins now has to be over, in the loop's time."""
        return self.loop.time() + self.timeout

    def lane(self, slot: Slot) -> GroupCommit:
        """The lane that commits this slot's units."""
        return self._lanes[self.engine.lane_of(slot) if len(self._lanes) > 1 else 0]

    async def submit(self, unit: Unit, size: int, lane: GroupCommit, deadline: float) -> Outcome:
        """Commit the unit in its lane, and wait for the outcome."""
        self._begin()
        try:
            return await lane.submit(unit, size, deadline)
        finally:
            self._end()

    async def write(self, call: Callable[[str, float], Awaitable[T]]) -> T:
        """A write besides group commit: ``call(attempt, deadline)``, resent until it is done."""
        deadline = self.deadline()
        self._begin()
        try:
            return await resend(lambda attempt: call(attempt, deadline), deadline)
        finally:
            self._end()

    async def read(self, call: Callable[[], Awaitable[T]]) -> T:
        """A read, again when the connection is lost, until the timeout."""
        deadline = self.deadline()
        pause = _FIRST_PAUSE
        last: StorageError | None = None
        self._begin()
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        return await call()
                    except (NotApplied, Unknown) as exc:
                        last = exc
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        except TimeoutError as exc:
            if isinstance(exc, StorageError):
                raise
            reason = f": {last}" if last is not None else ""
            raise StorageTimeoutError(f"no answer within {self.timeout:g} s{reason}") from last or exc
        finally:
            self._end()

    async def close(self) -> None:
        """Wait for what is in flight, end watching, release the engine."""
        self._closing = True
        self.hub.close()
        while self._in_flight:
            self._idle.clear()
            await self._idle.wait()
        for lane in self._lanes:
            await lane.drain()
        await self.engine.close()

    def abandon(self) -> None:
        """Drop everything without awaiting: the loop has ended, or this is a forked child."""
        self._closing = True
        self.engine.abandon()

    def _begin(self) -> None:
        if self._closing:
            raise StorageClosedError("the storage is closed; open a new one to go on")
        self._in_flight += 1

    def _end(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
