"""One event loop in a daemon thread, shared by every ``SyncStorage`` of the process and started at first use."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from oacp_storage_core.errors import StorageUsageError

_T = TypeVar("_T")


class BackgroundLoop:
    """An event loop that runs in a thread of its own until the process ends; nothing waits for that thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="oacp-storage-sync", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run the coroutine in the loop and wait for its result, from any other thread.

        When the wait is interrupted (KeyboardInterrupt), the coroutine is cancelled. Raises
        ``StorageUsageError`` in the loop's own thread, where waiting would never end.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise StorageUsageError(
                "SyncStorage was called from its own event loop (in a change function, perhaps), where it would "
                "wait for itself; use the storage that it wraps, and await it there"
            )
        call = CancellableCall(coroutine)
        try:
            return asyncio.run_coroutine_threadsafe(call.run(), self._loop).result()
        except BaseException:
            self._loop.call_soon_threadsafe(call.cancel)  # no effect where the call itself has failed
            raise


class CancellableCall(Generic[_T]):
    """One coroutine, which can be cancelled wherever the interruption fell: before it began or later."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    async def run(self) -> _T:
        """Run it, in the loop, unless it was cancelled before."""
        if self._cancelled:
            self._coroutine.close()
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        return await self._coroutine

    def cancel(self) -> None:
        """Cancel it, in the loop; one that has ended stays as it is."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


_guard = threading.Lock()
_current: BackgroundLoop | None = None


def background_loop() -> BackgroundLoop:
    """The loop of this process."""
    global _current  # noqa: PLW0603 - one loop for all is the purpose
    with _guard:
        if _current is None:
            _current = BackgroundLoop()
        return _current


def _after_fork() -> None:
    """A child has no thread but the one that forked: it starts a loop of its own when it needs one."""
    global _current, _guard  # noqa: PLW0603 - as above; the guard may be held by a thread that is no more
    _guard = threading.Lock()
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
