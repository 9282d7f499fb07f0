"""The lifecycle of an engine-based storage: opened at first use, reopened in a new loop or a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oacp_storage_core import StorageClosedError, StorageUsageError

from oacp_storage_engine.primitives import Engine
from oacp_storage_engine.runtime import Runtime


class Lifecycle:
    """Holds at most one ``Runtime``, and makes a new one where the present one cannot be used.

    ``make_engine`` is called for every event loop and process anew.
    """

    def __init__(self, make_engine: Callable[[], Engine], timeout: float) -> None:
        self._make_engine = make_engine
        self._timeout = timeout
        self._runtime: Runtime | None = None
        self._opening: asyncio.Task[Runtime] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._pid = os.getpid()
        self._guard = threading.Lock()

    async def runtime(self) -> Runtime:
        """The runtime of the running loop, opened if need be."""
        runtime = self._runtime
        if runtime is not None and runtime.loop is asyncio.get_running_loop() and runtime.pid == os.getpid():
            if self._closed:
                raise _closed_error()
            return runtime
        # Shielded: one impatient caller must not take the connection from the others.
        return await asyncio.shield(self._start_opening())

    async def close(self) -> None:
        """Close what is open; idempotent, and every caller returns only when it is done."""
        with self._state():
            self._closed = True
            if self._closing is None:
                self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    def _start_opening(self) -> asyncio.Task[Runtime]:
        with self._state():
            if self._closed:
                raise _closed_error()
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open(), name="oacp-storage open")
                self._opening.add_done_callback(self._opened)
            return self._opening

    @contextmanager
    def _state(self) -> Iterator[None]:
        """Exclusive access to the state, cleared of what belongs to an ended loop or the parent process."""
        forked = self._pid != os.getpid()
        if forked:
            self._pid = os.getpid()
            self._guard = threading.Lock()  # another thread of the parent may have held the old one
        with self._guard:
            here = asyncio.get_running_loop()
            runtime, opening, closing = self._runtime, self._opening, self._closing
            loops = [
                runtime.loop if runtime else None,
                *(task.get_loop() for task in (opening, closing) if task),
            ]
            if not forked and any(
                loop is not None and loop is not here and loop.is_running() for loop in loops
            ):
                raise _two_loops_error()
            if runtime is not None and (forked or runtime.loop is not here):
                self._runtime = None
                runtime.abandon()
            if opening is not None and (forked or opening.get_loop() is not here):
                self._opening = None
            if closing is not None and (forked or closing.get_loop() is not here):
                self._closing = None
            yield

    def _opened(self, opening: asyncio.Task[Runtime]) -> None:
        """The next use after a failure tries anew; one that nobody waited for is not worth a warning."""
        if self._opening is opening:
            self._opening = None
        if not opening.cancelled():
            opening.exception()

    async def _open(self) -> Runtime:
        runtime = await Runtime.open(self._make_engine(), self._timeout)
        self._runtime = runtime
        return runtime

    async def _close(self) -> None:
        if self._opening is not None:
            await asyncio.wait([self._opening])
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.close()


def _closed_error() -> StorageClosedError:
    return StorageClosedError("the storage is closed; open a new one to go on")


def _two_loops_error() -> StorageUsageError:
    return StorageUsageError(
        "the storage is in use by another event loop that is still running (another thread?); give each loop "
        "a storage of its own, or use SyncStorage, which may be shared by threads"
    )
