"""The pool: connections that are opened as they are needed, and lent to one use at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from oacp_storage_engine import NotApplied
from oacp_storage_postgres.uninterrupted import uninterrupted

_KEPT_FOR_WRITES = 3  # one for each lane, and one for deletions
_CLOSE_SECONDS = 5.0


class Pool:
    """At most ``kept`` + ``extra`` connections, made by ``connect``; reads never take the last few of them.

    What waits does so in order, writes before reads, and reads for ``patience`` seconds. The connection that was used
    last is lent first; of more than ``kept``, those that nobody used for ``idle_seconds`` are closed.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        *,
        kept: int,
        extra: int,
        idle_seconds: float,
        patience: float,
    ) -> None:
        self._connect = connect
        self._kept = kept
        self._size = kept + extra
        self._readable = max(self._size - _KEPT_FOR_WRITES, 1)
        self._idle_seconds = idle_seconds
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._idle: deque[tuple[float, Any]] = deque()  # since when, the longest first
        self._lent = 0
        self._read_by = 0  # how many of these to reads
        self._readers: deque[asyncio.Future[None]] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self, *, reading: bool) -> Any | None:
        """An idle connection at once; None if there is none, or others wait."""
        if self._idle and self._has_room(reading):
            self._lend(reading)
            connection = self._pop()
            if connection is not None:
                return connection
            self._return(reading)
        return None

    async def wait(self, *, reading: bool, deadline: float | None) -> Any:
        """A connection, when there is one; ``NotApplied`` if that is not before ``deadline``."""
        if not self._has_room(reading):
            await self._queue(reading, deadline)
        else:
            self._lend(reading)
        connection = self._pop()
        if connection is not None:
            return connection
        try:
            async with asyncio.timeout_at(deadline):
                return await uninterrupted(
                    self._make(reading),
                    lambda made: self.give_back(made, reading=reading),
                    "oacp-storage connect for the pool",
                )
        except TimeoutError as exc:
            raise NotApplied("PostgreSQL did not answer in time when a connection was to be made") from exc

    def give_back(self, connection: Any, *, reading: bool) -> None:
        """End the use of a connection; one that is closed is forgotten."""
        if self._closed:
            connection.terminate()
        elif not connection.is_closed():
            self._idle.append((self._loop.time(), connection))
            if self._timer is None and self._lent + len(self._idle) > self._kept + 1:
                self._timer = self._loop.call_later(self._idle_seconds, self._close_idle)
        self._return(reading)

    async def close(self) -> None:
        """Close what is idle, and the others as they are given back; whoever waits gets ``NotApplied``."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiting in (*self._writers, *self._readers):
            if not waiting.done():
                waiting.set_exception(_closed())
        idle, self._idle = self._idle, deque()
        await asyncio.gather(*(connection.close(timeout=_CLOSE_SECONDS) for _, connection in idle))

    def _has_room(self, reading: bool) -> bool:
        if self._closed:
            raise _closed()
        if reading:
            return self._lent < self._size and self._read_by < self._readable and not self._readers
        return self._lent < self._size and not self._writers

    def _lend(self, reading: bool) -> None:
        self._lent += 1
        self._read_by += reading

    def _return(self, reading: bool) -> None:
        self._lent -= 1
        self._read_by -= reading
        self._let_in()

    def _let_in(self) -> None:
        while self._lent < self._size:
            if self._writers:
                waiting, reading = self._writers.popleft(), False
            elif self._readers and self._read_by < self._readable:
                waiting, reading = self._readers.popleft(), True
            else:
                return
            if not waiting.done():
                self._lend(reading)
                waiting.set_result(None)

    def _pop(self) -> Any | None:
        while self._idle:
            connection = self._idle.pop()[1]
            if not connection.is_closed():
                return connection
        return None

    async def _queue(self, reading: bool, deadline: float | None) -> None:
        """Wait for the right to have a connection."""
        queue = self._readers if reading else self._writers
        turn: asyncio.Future[None] = self._loop.create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout_at(
                self._loop.time() + self._patience if deadline is None else deadline
            ):
                await turn
        except BaseException as exc:
            if turn in queue:
                queue.remove(turn)
            elif turn.done() and not turn.cancelled() and turn.exception() is None:
                self._return(reading)  # it was this one's turn in the very moment
            if isinstance(exc, TimeoutError):
                raise NotApplied(
                    f"all {self._size} connections were in use: raise pool_size or max_overflow"
                ) from exc
            raise

    async def _make(self, reading: bool) -> Any:
        try:
            return await self._connect()
        except BaseException:
            self._return(reading)
            raise

    def _close_idle(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._idle and self._lent + len(self._idle) > self._kept:
            since, connection = self._idle[0]
            if since + self._idle_seconds > now:
                self._timer = self._loop.call_at(since + self._idle_seconds, self._close_idle)
                return
            self._idle.popleft()
            connection.terminate()


def _closed() -> NotApplied:
    return NotApplied("the connections were closed meanwhile")
