"""Locks between processes: released by the system when their owner dies, and fair.

``flock`` belongs to the open file, so that two storages in one process exclude each other too. A forked child
shares its parent's open files: it closes its copies at once, which leaves the parent's locks alone and keeps
the child from holding them when the parent dies.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oacp_storage_file.disk import FILE_MODE

_open_locks: weakref.WeakSet[LockFile] = weakref.WeakSet()


class LockFile:
    """One lock file. Not for use by several threads."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._pid = os.getpid()
        _open_locks.add(self)

    def acquire(self) -> None:
        """Wait until the lock is ours alone."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; a shared lock of our own may be lost in the attempt."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        """Wait until nobody has it alone, and hold it together with others."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the lock up. In a forked child it is the parent's, and stays."""
        if self._fd >= 0 and self._pid == os.getpid():
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which gives the lock up unless a forked child still has the file open."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class CommitLock:
    """The lock that everything that changes a store holds.

    Whoever waits stands in line at a first lock and takes the second from there, so that a process that has
    just given it up cannot take it again before those who wait.
    """

    def __init__(self, line_path: str, lock_path: str) -> None:
        self._line = LockFile(line_path)
        self._lock = LockFile(lock_path)

    @contextmanager
    def held(self, prepare: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold the lock. Whoever is next in line does what ``prepare`` says while the owner is still at work."""
        self._line.acquire()
        try:
            if not self._lock.try_acquire():
                prepare()
                self._lock.acquire()
        finally:
            self._line.release()
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close both files."""
        self._line.close()
        self._lock.close()


def _close_in_child() -> None:
    for lock in list(_open_locks):
        lock.close()


os.register_at_fork(after_in_child=_close_in_child)
