"""The runtime: an engine in one event loop of one process, with its lanes and watchers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from oacp_storage_core import StorageConnectionError, StorageError, StorageTimeoutError
from oacp_storage_engine.background import start_task
from oacp_storage_engine.failure import closed, made_public, own_copy, public, taken_over
from oacp_storage_engine.group_commit import GroupCommit, Step
from oacp_storage_engine.primitives import Engine, NotApplied, Rejected, Slot, Unknown
from oacp_storage_engine.resend import resend
from oacp_storage_engine.turnstile import Turnstile
from oacp_storage_engine.watch_hub import WatchHub

T = TypeVar("T")

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0
_GRACE = 1.0  # seconds, after which the opening itself is over and tells why it failed
_LEAST_SHARE = 0.1  # of the timeout, for each sending of a group


class Runtime:
    """Everything of a storage that belongs to one loop and one process. Opening begins at once.

    Every call holds it (``with runtime:``) from its beginning to its end, so that ``close`` can wait for it.
    ``timeout`` is the seconds that one call may take, opening included.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self.hub = WatchHub(engine)
        self.failure: StorageError | None = None
        self.ended = False
        self._abandoned = False
        self._opened = False
        self._entered = False
        self._entrance = Turnstile(lambda: self._opened)
        self._lanes: list[GroupCommit] = []
        self._calls = 0
        self._idle = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._close_failure: StorageError | None = None
        self._opening = start_task(self._open(), "oacp-storage open")
        self._opening.add_done_callback(self._ended_opening)

    def __enter__(self) -> Self:
        self._calls += 1
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    def deadline(self) -> float:
        """When a call that begins now has to be over, in the loop's time."""
        return self.loop.time() + self.timeout

    async def opened(self, deadline: float | None = None) -> None:
        """Wait, in the order of calls, until the engine is open; raises what opening failed with."""
        if self._entrance.blocked:
            await self._wait_for_opening(self.deadline() if deadline is None else deadline)
        self._check()

    def free_lane(self, agent: str) -> GroupCommit | None:
        """The lane of an agent, for a call that may ``submit`` at once; None when it has to ``enter_lane``."""
        if not self._entered:
            if self._entrance.blocked:
                return None
            self._entered = True  # open, and nobody waits any more: from now on nobody will
        if self.failure is not None or self.ended:
            return None
        lane = self._lanes[0] if len(self._lanes) == 1 else self._lane(True, agent)
        return None if lane.crowded else lane

    async def enter_lane(self, is_agent: bool, name: str, deadline: float) -> GroupCommit:
        """The lane of a slot, when it was this call's turn; submit without awaiting in between."""
        if self._entrance.blocked:
            await self._wait_for_opening(deadline)
        self._check()
        lane = self._lane(is_agent, name)
        if lane.crowded:
            await lane.enter(deadline)
        return lane

    async def write(self, step: Step[T], *, slot: Slot | None = None) -> T:
        """A write besides group commit, resent until it is done.

        With a ``slot`` it takes its turn among the units of that slot, in the order of calls.
        """
        with self:
            deadline = self.deadline()
            if slot is not None:
                lane = await self.enter_lane(slot.is_agent, slot.name, deadline)
                return await lane.perform(step, deadline)
            await self.opened(deadline)
            return await resend(lambda attempt: step(attempt, deadline), deadline)

    async def read(self, call: Callable[[], Awaitable[T]], *, patience: float | None = None) -> T:
        """A read, again when the connection is lost, for ``patience`` seconds (by default the timeout)."""
        with self:
            patience = self.timeout if patience is None else min(patience, self.timeout)
            deadline = self.loop.time() + patience
            await self.opened(deadline)
            pause = _FIRST_PAUSE
            last: StorageError | None = None
            try:
                async with asyncio.timeout_at(deadline):
                    while True:
                        try:
                            return await call()
                        except (NotApplied, Unknown) as exc:
                            last = exc
                        await asyncio.sleep(pause)
                        self._check()
                        pause = min(pause * 2, _LONGEST_PAUSE)
            except Rejected as exc:
                raise public(exc, "reading") from exc
            except StorageError:
                raise
            except TimeoutError as exc:
                reason = f": {last}" if last is not None else ""
                raise StorageTimeoutError(f"no answer within {patience:g} s{reason}") from last or exc
            except Exception as exc:
                raise public(exc, "reading") from exc

    async def close(self) -> None:
        """Wait for calls under way, end watching, release the engine. Every caller returns when it is done."""
        if self._closing is None or (
            self._closing.cancelled() and not self.ended
        ):  # or it had not even begun
            self._closing = start_task(self._close(), "oacp-storage close")
        await asyncio.wait([self._closing])  # unlike awaiting it, this leaves it alone when cancelled
        if self._close_failure is not None:
            raise own_copy(self._close_failure)

    def abandon(self) -> None:
        """Drop everything without awaiting: the loop has ended or is paused, or this is a forked child."""
        self.ended = self._abandoned = True
        self.engine.abandon()
        if self.pid == os.getpid():
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._give_up)  # should it be run again

    def _lane(self, is_agent: bool, name: str) -> GroupCommit:
        if len(self._lanes) == 1:
            return self._lanes[0]
        return self._lanes[self.engine.lane_of(Slot(is_agent, name))]

    async def _wait_for_opening(self, deadline: float) -> None:
        try:
            await self._entrance.enter(deadline + _GRACE)
        except TimeoutError:
            raise StorageTimeoutError("the store was not open in time; nothing was changed") from None

    def _check(self) -> None:
        if self.failure is not None:
            raise own_copy(self.failure)
        if self.ended:
            raise taken_over() if self._abandoned else closed()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                info = await self.engine.open()
        except BaseException as exc:
            if not self._abandoned:
                with suppress(Exception):  # the failure to open is the better error
                    await self._release()
            self.failure = _opening_failure(exc, self.timeout)
            if not isinstance(exc, Exception):
                raise
        else:
            for warning in info.warnings:
                _log.warning("%s", warning)
            least_time = self.timeout * _LEAST_SHARE
            self._lanes = [
                GroupCommit(self.engine, self.hub.committed, least_time=least_time)
                for _ in range(self.engine.lanes)
            ]

    def _ended_opening(self, opening: asyncio.Task[None]) -> None:
        if opening.cancelled() and self.failure is None:  # it had not even begun
            self.failure = _interrupted()
        self._opened = True
        self._entrance.let_in()

    async def _close(self) -> None:
        try:
            await self.hub.close(self.timeout)
            await asyncio.wait([self._opening])
            while self._calls:
                self._idle.clear()
                await self._idle.wait()
            for lane in self._lanes:
                await lane.drain()
        except BaseException:  # cancelled: the loop is being shut down
            self.engine.abandon()
            raise
        finally:
            self.ended = True
        if self.failure is None and not self._abandoned:
            try:
                with made_public("closing"):
                    await self._release()
            except StorageError as exc:
                self._close_failure = exc  # for everybody who closes

    async def _release(self) -> None:
        """Close the engine, or drop it when that takes too long or is interrupted."""
        try:
            async with asyncio.timeout(self.timeout):
                await self.engine.close()
        except TimeoutError as exc:
            self.engine.abandon()
            raise StorageTimeoutError(
                f"the store did not close within {self.timeout:g} s; its connection was dropped"
            ) from exc
        except BaseException:
            self.engine.abandon()
            raise

    def _give_up(self) -> None:
        self._opening.cancel()
        self._entrance.turn_away(taken_over())
        for lane in self._lanes:
            lane.give_up(taken_over())
        self.hub.end()


def _opening_failure(exc: BaseException, timeout: float) -> StorageError:
    if isinstance(exc, StorageError) and not isinstance(exc, NotApplied | Unknown | Rejected):
        return exc
    error: StorageError
    if isinstance(exc, TimeoutError):
        error = StorageTimeoutError(
            f"the store could not be opened within {timeout:g} s; if it has to be upgraded, give it a longer timeout="
        )
    elif isinstance(exc, Exception):
        error = public(exc, "opening the store")
    else:
        error = _interrupted()
    error.__cause__ = exc
    return error


def _interrupted() -> StorageError:
    return StorageConnectionError("opening the store was interrupted; nothing was changed")
