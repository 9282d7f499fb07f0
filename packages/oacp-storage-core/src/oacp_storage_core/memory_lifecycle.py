"""The lifecycle of a ``MemoryStorage``: its data, the event loop it belongs to, and its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from oacp_storage_core.errors import StorageClosedError, StorageUsageError
from oacp_storage_core.memory_store import LOCK, Namespace
from oacp_storage_core.records import Health
from oacp_storage_core.storage import Storage


class MemoryLifecycle(Storage):
    """Access to the data of one namespace, from one event loop at a time, until ``close()``."""

    def __init__(self, data: Namespace, *, coerce: bool) -> None:
        self._data = data
        self._coerce = coerce
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    async def open(self) -> None:
        """Take hold of the running event loop now instead of at the first use."""
        with self._use():
            pass

    async def close(self) -> None:
        """End watching and refuse further use; may be called again. A named store keeps its data."""
        with LOCK:
            if not self._closed:
                self._take_loop()
                self._closed = True
                self._data.ring(None)

    @contextmanager
    def _use(self) -> Iterator[Namespace]:
        """The data, for as long as nothing is awaited; raises when the storage may not be used."""
        with LOCK:
            if self._closed:
                raise StorageClosedError("the storage is closed; open a new one to go on")
            self._take_loop()
            yield self._data

    def _take_loop(self) -> None:
        """Belong to the running loop, unless another one that still runs is the owner."""
        loop = asyncio.get_running_loop()
        inherited = self._pid != os.getpid()  # the loops of a parent process look as if they were running
        if self._loop is not None and self._loop is not loop and self._loop.is_running() and not inherited:
            raise StorageUsageError(
                "the storage is in use by another event loop that is still running (another thread?); give each "
                "loop a storage of its own, or use SyncStorage, which threads may share"
            )
        self._loop = loop
        self._pid = os.getpid()

    async def health(self) -> Health:
        """Always well, and never durable."""
        start = time.perf_counter()
        with self._use():
            latency = time.perf_counter() - start
        return Health(
            ok=True,
            backend=type(self).__name__,
            latency=latency,
            durability="none",
            warnings=("everything is lost when this process ends: choose another backend for data to keep",),
        )


async def give_way() -> None:
    """Give other tasks their turn, as every store does that waits for something.

    Otherwise a task that only calls the storage would starve all others. It comes last in a call: whoever is
    cancelled here has had the whole call.
    """
    await asyncio.sleep(0)
