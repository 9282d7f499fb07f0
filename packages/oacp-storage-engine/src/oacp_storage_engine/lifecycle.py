"""The lifecycle of an engine-based storage: opened at first use, reopened in a new loop or a forked child."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from oacp_storage_engine.failure import closed, two_loops
from oacp_storage_engine.primitives import Engine
from oacp_storage_engine.runtime import Runtime


class Lifecycle:
    """Holds at most one ``Runtime``, and makes a new one where the present one cannot be used.

    ``make_engine`` is called for every event loop and process anew, and again after opening failed.
    """

    def __init__(self, make_engine: Callable[[], Engine], timeout: float) -> None:
        self._make_engine = make_engine
        self._timeout = timeout
        self._runtime: Runtime | None = None
        self._closed = False
        self._guards: dict[int, threading.Lock] = {}

    def runtime(self) -> Runtime:
        """The runtime of the running loop, to be held by the call that asks for it; it may still be opening."""
        runtime = self._runtime
        if (
            runtime is not None
            and not self._closed
            and runtime.loop is asyncio.get_running_loop()
            and runtime.pid == os.getpid()
            and runtime.failure is None
        ):
            return runtime
        with self._guard():
            if self._closed:
                raise closed()
            runtime = self._present()
            if runtime is None:
                runtime = self._runtime = Runtime(self._make_engine(), self._timeout)
            return runtime

    async def close(self) -> None:
        """Close what is open; idempotent, and every caller returns only when it is done."""
        with self._guard():
            runtime = self._present()
            self._closed = True
        if runtime is not None:
            try:
                await runtime.close()
            finally:
                if runtime.ended and self._runtime is runtime:
                    self._runtime = None

    def _present(self) -> Runtime | None:
        """The runtime if it can be used here; one of an ended loop or of the parent process is dropped."""
        runtime = self._runtime
        if runtime is None:
            return None
        here = asyncio.get_running_loop()
        inherited = runtime.pid != os.getpid()  # the parent's loop looks as if it were running
        if runtime.loop is here and not inherited:
            return runtime if runtime.failure is None else None
        if not inherited and runtime.loop.is_running() and not runtime.ended:
            raise two_loops()
        self._runtime = None
        if not runtime.ended:
            runtime.abandon()
        return None

    def _guard(self) -> threading.Lock:
        """The lock of this process: a forked child may have inherited one that another thread held."""
        return self._guards.setdefault(os.getpid(), threading.Lock())
