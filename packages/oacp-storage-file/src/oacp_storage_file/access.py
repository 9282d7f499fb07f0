"""Access: how an engine's coroutines reach the store, which blocks and belongs to one thread.

One thread commits, under the commit lock; a few others read, guarded by the sequence lock alone. A read that finds no
quiet moment takes its view in the committing thread, under the lock.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from oacp_storage_core import StorageError
from oacp_storage_engine import NotApplied, Unknown
from oacp_storage_file.log_view import LogView
from oacp_storage_file.optimistic import NotQuietError, QuietReads
from oacp_storage_file.store import Store
from oacp_storage_file.worker import Job, Worker

T = TypeVar("T")

_READERS = 4
_TRIES = 10


class Access:
    """The threads of one engine. ``where`` names the store in messages."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._writer = Worker("commits")
        self._readers = Worker("reads", _READERS)
        self._pid = os.getpid()

    def begin_job(self) -> None:
        """The committing thread has the lock: from here on its job is not given up."""
        job = self._writer.current
        if job is not None:
            job.begin()

    async def write(self, work: Callable[[], T], deadline: float) -> T:
        """Do work in the committing thread, or give it up at the deadline if it has not begun."""
        job = self._writer.submit(lambda: self._translated(work))
        timer = asyncio.get_running_loop().call_at(deadline, self._expire, job)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.give_up()
            raise
        finally:
            timer.cancel()

    def _expire(self, job: Job[T]) -> None:
        if job.future.done():
            return
        if job.give_up():
            job.future.set_exception(
                NotApplied(f"the lock of {self._where} was held by others for the whole time")
            )
        else:
            job.future.set_exception(Unknown(f"the disk under {self._where} did not answer in time"))

    async def alone(self, work: Callable[[], T]) -> T:
        """Do work in the committing thread; when cancelled before it began, not at all."""
        return await self._writer.run(lambda: self._translated(work))

    async def beside(self, work: Callable[[], T]) -> T:
        """Do work in a reading thread."""
        return await self._readers.run(lambda: self._translated(work))

    async def read(
        self, store: Store, quiet: QuietReads, look: Callable[[], T], locked: Callable[[], T] | None = None
    ) -> T:
        """What ``look`` finds while no commit is half applied, or ``locked`` with the commit lock held."""
        try:
            return await self.beside(lambda: quiet.take(look))
        except NotQuietError:
            return await self.alone(lambda: _locked(store, locked or look))

    async def read_log(
        self, store: Store, quiet: QuietReads, view: Callable[[], LogView], use: Callable[[LogView], T]
    ) -> T:
        """Use a view of a log that is taken while no commit is half applied; ``use`` may run several times."""

        def quietly() -> T | None:
            with quiet.take(view, LogView.close) as found:
                return _use(found, use)

        def locked() -> T | None:
            with _locked(store, view) as found:
                return _use(found, use)

        for _ in range(_TRIES):
            try:
                done = await self.beside(quietly)
            except NotQuietError:
                done = await self.alone(locked)
            if done is not None:
                return done
        raise StorageError(
            f"files of {self._where} vanish while they are read: is something else removing them?"
        )

    async def stop(self, last: Callable[[], object], patience: float) -> None:
        """Do the last job in the committing thread, waiting for it up to ``patience`` seconds, and end all threads."""
        job = self._writer.submit(last)
        self._end()
        await asyncio.wait([job.future], timeout=patience)

    def abandon(self, last: Callable[[], object]) -> None:
        """Let the committing thread do a last job without waiting for it; in a forked child, which has none, do it."""
        if self._pid == os.getpid():
            self._writer.post(last)
            self._end()
        else:
            last()

    def _end(self) -> None:
        self._writer.stop()
        self._readers.stop()

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except StorageError:
            raise
        except (OSError, sqlite3.Error) as exc:
            raise StorageError(f"the store in {self._where} cannot be used: {exc}") from exc


def _locked(store: Store, look: Callable[[], T]) -> T:
    with store.locked():
        return look()


def _use(view: LogView, use: Callable[[LogView], T]) -> T | None:
    """What ``use`` makes of the view; None when retention took a segment from under it."""
    try:
        return use(view)
    except FileNotFoundError:
        return None
