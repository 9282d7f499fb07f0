"""Reading a pipe or a terminal in such a way that Ctrl-C ends the wait at once."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def interruptible(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The same stream, unbuffered; while it is open, SIGINT raises KeyboardInterrupt wherever the program is.

    asyncio's own handler would wait for the next ``await``, and Python alone notices a signal that comes just
    before a blocking read only after it. Outside the main thread, and on Windows, reading stays as it is.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield stream
        return
    waking, wake = os.pipe()
    os.set_blocking(wake, False)
    handler = signal.signal(signal.SIGINT, _interrupt)
    descriptor = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield io.BufferedReader(_Waiting(stream.fileno(), waking))
    finally:
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGINT, handler)
        os.close(waking)
        os.close(wake)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


class _Waiting(io.RawIOBase):
    """Waits for the descriptor and for signals, and reads what there is."""

    def __init__(self, descriptor: int, waking: int) -> None:
        self._descriptor = descriptor
        self._waking = waking

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the buffers that come
        while True:
            ready, _, _ = select.select([self._descriptor, self._waking], [], [])
            if self._descriptor in ready:
                return os.readv(self._descriptor, [buffer])
            os.read(self._waking, 1024)  # of a signal whose handler raised nothing

    def fileno(self) -> int:
        return self._descriptor
