"""A worker: threads of our own that do an engine's blocking work.

Daemons, so that nothing keeps the interpreter from exiting; a hop to one costs a third of ``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class JobAbandonedError(Exception):
    """Nobody waits for the job any more, and it had not begun."""


class Job(Generic[T]):
    """A piece of work and the future that awaits it.

    ``claim`` decides between beginning and giving up: whoever calls it first of worker and waiter has it.
    """

    __slots__ = ("_claim", "_work", "begun", "future", "loop")

    def __init__(self, work: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._claim = threading.Lock()
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.begun = False

    def begin(self) -> None:
        """Called by the worker before anything that cannot be undone; may be called again."""
        if not self.begun:
            if not self._claim.acquire(blocking=False):
                raise JobAbandonedError
            self.begun = True

    def give_up(self) -> bool:
        """Called by the waiter; whether the job will surely not begin."""
        return not self.begun and self._claim.acquire(blocking=False)

    def run(self) -> None:
        """Do the work, and hand its result or error to the future."""
        if self.future.cancelled():
            return
        result: T | None = None
        error: BaseException | None = None
        try:
            result = self._work()
        except BaseException as exc:  # noqa: BLE001 - it belongs to whoever awaits the future
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self.loop.call_soon_threadsafe(self._finish, result, error)

    def _finish(self, result: T | None, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(cast(T, result))


class Worker:
    """Up to ``threads`` threads, started when there is work, that do jobs in the order of their submission."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._name = name
        self._most = threads
        self._threads = 0
        self._idle = 0
        self._jobs: queue.SimpleQueue[Job[object] | Callable[[], object] | None] = queue.SimpleQueue()
        self.current: Job[object] | None = None

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """Queue a job from the running loop."""
        job = Job(work, asyncio.get_running_loop())
        self._jobs.put(job)  # type: ignore[arg-type]  # nobody takes the result out of the queue
        if self._threads < self._most and self._idle < self._jobs.qsize():
            self._threads += 1
            threading.Thread(target=self._work, name=f"oacp-storage {self._name}", daemon=True).start()
        return job

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread. Cancelled before it began it is not done, afterwards it is finished."""
        job = self.submit(work)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.give_up()
            raise

    def post(self, work: Callable[[], object]) -> None:
        """Queue work that nobody waits for, also from outside the loop; dropped where no thread was needed yet."""
        self._jobs.put(work)

    def stop(self) -> None:
        """End the threads after the jobs that are queued."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            self._idle += 1
            job = self._jobs.get()
            self._idle -= 1
            if job is None:
                return
            if not isinstance(job, Job):
                job()
                continue
            self.current = job
            job.run()
            self.current = None
            del job  # and with it what its result holds


async def in_thread(name: str, work: Callable[[], T]) -> T:
    """Do one piece of work in a daemon thread of its own."""
    worker = Worker(name)
    job = worker.submit(work)
    worker.stop()
    return await job.future
