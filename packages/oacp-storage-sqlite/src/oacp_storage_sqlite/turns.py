"""Taking turns: processes that write to one database line up at a lock file.

SQLite's own way of waiting for a writer sleeps longer and longer, so that whoever has just waited loses to
whoever has just come. With short random pauses at a lock that costs one system call to try, ten writers each
get their share within a few per cent, and no time is lost between them. The lock is a courtesy only: what
keeps the data consistent are SQLite's own locks. The system gives it up when its owner dies.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress

from oacp_storage_engine import NotApplied

try:
    import fcntl
except ImportError:  # no flock on this system: SQLite's locks alone decide
    fcntl = None  # type: ignore[assignment]

SUFFIX = "-turn"
_MODE = 0o600
_PAUSE = 0.0005
_LONG_WAIT = 0.1
_LONG_PAUSE = 0.005


def pause(waited: float) -> None:
    """Sleep for a short random time; longer after ``waited`` seconds that suggest something unusual."""
    time.sleep(random.uniform(0.5, 1.5) * (_PAUSE if waited < _LONG_WAIT else _LONG_PAUSE))  # noqa: S311


class Turn:
    """The lock file beside one database. Not for use by several threads.

    Where the file cannot be made or locked (some network file systems), taking a turn does nothing.
    """

    def __init__(self, database: str) -> None:
        self._path = database + SUFFIX
        self._fd: int | None = None
        self._usable = fcntl is not None

    def take(self, deadline: float) -> None:
        """Wait for the turn until ``deadline`` (of ``time.monotonic``); ``NotApplied`` when it has passed."""
        fd = self._open() if self._fd is None else self._fd
        if fd is None:
            return
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError:
                self._usable = False
                self.close()
                return
            else:
                return
            now = time.monotonic()
            if now >= deadline:
                raise NotApplied(
                    f"{self._path}: other processes wrote to the database for the whole time, or one that "
                    "holds this lock is stopped; raise timeout="
                )
            pause(now - begun)

    def give(self) -> None:
        """Give the turn up, if it is ours."""
        if self._fd is not None:
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which gives the turn up."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int | None:
        if self._usable:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
            except OSError:
                self._usable = False
        return self._fd
