"""Plain iterators over the asynchronous streams of a storage, for ``SyncStorage``. Threads may share one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from oacp_storage_core.background_loop import background_loop
from oacp_storage_core.records import Interaction

_T = TypeVar("_T")

_READ_AHEAD = 32
"""How many items one visit to the loop fetches; the visit takes longer than reading one of them."""


class StreamIterator(Iterator[_T]):
    """Reads a stream a few items ahead. An error comes at its place, and the iteration may go on after it."""

    def __init__(self, stream: AsyncIterator[_T]) -> None:
        self._stream = stream
        self._fetched: deque[_T] = deque()
        self._failed: Exception | None = None
        self._lock = threading.Lock()

    def __next__(self) -> _T:
        with self._lock:
            if not self._fetched and self._failed is None:
                background_loop().call(self._fetch())
            if self._fetched:
                return self._fetched.popleft()
            failed, self._failed = self._failed, None
        if failed is None:
            raise StopIteration
        raise failed

    async def _fetch(self) -> None:
        try:
            while len(self._fetched) < _READ_AHEAD:
                self._fetched.append(await anext(self._stream))
        except StopAsyncIteration:
            pass
        except Exception as exc:  # noqa: BLE001 - raised when what was read before it has been handed out
            self._failed = exc


class WatchIterator(Iterator[Interaction]):
    """Waits for interactions, without end or (``wait``) for some time. An interrupted wait loses nothing."""

    def __init__(self, stream: AsyncIterator[Interaction]) -> None:
        self._stream = stream
        self._step: asyncio.Task[Interaction | None] | None = None
        self._lock = threading.Lock()

    def __next__(self) -> Interaction:
        found = self.wait()
        if found is None:
            raise StopIteration
        return found

    def wait(self, timeout: float | None = None) -> Interaction | None:
        """The next interaction, or None when there is none within ``timeout`` seconds (None: without end)."""
        with self._lock:
            return background_loop().call(self._wait(timeout))

    async def _wait(self, timeout: float | None) -> Interaction | None:
        if self._step is None or self._step.get_loop() is not asyncio.get_running_loop():  # after a fork
            self._step = asyncio.create_task(self._next())
            self._step.add_done_callback(_retrieve)
        # The step is not cancelled with the wait: it may have taken an interaction from the stream already.
        done, _ = await asyncio.wait([self._step], timeout=timeout)
        if not done:
            return None
        step, self._step = self._step, None
        return step.result()

    async def _next(self) -> Interaction | None:
        return await anext(self._stream, None)


def _retrieve(step: asyncio.Task[Interaction | None]) -> None:
    """Look at the exception of a step that nobody may wait for any more, or asyncio logs it as lost."""
    if not step.cancelled():
        step.exception()
