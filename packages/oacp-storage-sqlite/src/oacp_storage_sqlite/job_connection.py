"""One SQLite connection and the thread that runs whole jobs on it, over aiosqlite.

aiosqlite offers one statement a hop; a transaction of five statements would cost five hops, and a caller
cancelled between two of them would leave it open. Here a *job* is a function of the raw connection that begins
and ends its own transaction. It runs in aiosqlite's thread as one piece, whatever becomes of the caller.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL as STOP

from oacp_storage_core import StorageClosedError
from oacp_storage_sqlite import forking

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_UNUSED_CHUNK_SIZE = 64


class JobConnection(aiosqlite.Connection):
    """A connection that runs one job after the other, in the order of ``submit``.

    ``connect`` makes the raw connection, in the thread; it is called for the first job, and again after
    ``suspend`` or ``discard``. ``closed`` is called whenever a raw connection was closed. The thread is a
    daemon: a connection that nobody closed keeps no interpreter from exiting.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], closed: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(connect, _UNUSED_CHUNK_SIZE)
        self._closed = closed
        self._in_use = threading.Lock()
        self._pid = os.getpid()
        self._ending: asyncio.Future[None] | None = None
        # Before aiosqlite 0.22 the connection is the thread.
        worker: Any = getattr(self, "_thread", self)
        worker.daemon = True
        forking.track(self)
        worker.start()

    def submit(self, job: Job[T]) -> asyncio.Future[T]:
        """Queue the job; the future has its outcome. Cancelling the future does not stop the job."""
        if not self._running:
            raise StorageClosedError("the connection to the database is closed; open the storage again")
        return self._queue(partial(self._run_job, job))

    async def perform(self, job: Job[T]) -> T:
        """Run the job and return what it returns. When the caller is cancelled, the job still ends."""
        return await self.submit(job)

    def discard(self) -> None:
        """Close the raw connection, from within a job; the next job gets a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # it may be broken: that is why it goes
                connection.close()
            self._closed()

    def interrupt_job(self) -> None:
        """Make the statement that runs now, if one does, end with an error."""
        connection = self._connection
        if connection is not None:
            with suppress(sqlite3.Error):  # closed meanwhile: there is nothing to interrupt
                connection.interrupt()

    async def close(self) -> None:
        """End after the jobs that are queued; never raises, and may be called again."""
        if self._running:
            self._ending = self._queue(self._discard_unused)
            self._end_thread()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    def abandon(self) -> None:
        """End after the jobs that are queued, without waiting. In a forked child this touches nothing."""
        if self._pid != os.getpid():
            self._connection = None
        elif self._running:
            self._put(self._discard_unused)
            self._end_thread()

    # --- forks --------------------------------------------------------------------------------------------

    def suspend(self, patience: float) -> bool:
        """Wait for the running job, close the raw connection, and hold all others back until ``resume``.

        A job that takes longer than ``patience`` seconds is interrupted, and once more waited for as long.
        Returns whether it was closed.
        """
        if not self._in_use.acquire(timeout=patience):
            self.interrupt_job()
            if not self._in_use.acquire(timeout=patience):
                return False
        self.discard()
        return True

    def resume(self) -> None:
        """Let jobs run again after ``suspend``."""
        self._in_use.release()

    # --- in the thread ------------------------------------------------------------------------------------

    def _run_job(self, job: Job[T]) -> T:
        with self._in_use:
            if self._connection is None:
                self._connection = self._connector()
            return job(self._connection)

    def _discard_unused(self) -> None:
        with self._in_use:
            self.discard()

    # --- into the thread ----------------------------------------------------------------------------------

    def _queue(self, function: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(_Once(self, function, loop, future))
        return future

    def _put(self, function: Callable[[], object]) -> None:
        queue: Any = self._tx  # typed for futures; _NOBODY stands for one
        queue.put_nowait((_NOBODY, function))

    def _end_thread(self) -> None:
        self._running = False
        if hasattr(self, "_thread"):
            self._put(lambda: STOP)
        else:  # before aiosqlite 0.22
            queue: Any = self._tx
            queue.put_nowait(STOP)


class _Once:
    """A function that is called once, in the thread, and whose outcome goes to a future of the loop.

    aiosqlite's thread keeps what it called last until the next call. It shall keep the connection, so that one which
    nobody closed is not collected, but not all that was written or read. The loop may have ended meanwhile, of which
    the thread must not die.
    """

    __slots__ = ("_connection", "_content")

    def __init__(
        self,
        connection: JobConnection,
        function: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        self._connection = connection
        self._content = [(function, loop, future)]

    def __call__(self) -> None:
        function, loop, future = self._content.pop()
        try:
            result = function()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it belongs to the caller
            _deliver(loop, future, future.set_exception, exc)
        else:
            _deliver(loop, future, future.set_result, result)


def _deliver(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    settle: Callable[[Any], None],
    outcome: object,
) -> None:
    def unless_given_up() -> None:
        if not future.done():
            settle(outcome)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(unless_given_up)


class _Nobody:
    """What aiosqlite's thread takes for a future to deliver to; ``_Once`` delivers itself."""

    def get_loop(self) -> _Nobody:
        return self

    def call_soon_threadsafe(self, *_: object) -> None:
        pass


_NOBODY = _Nobody()
