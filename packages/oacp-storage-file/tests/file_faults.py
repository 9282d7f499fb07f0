"""Disks that fail: killed at a call, full, or refusing to sync."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from oacp_storage_file.disk import Disk


class Killed(BaseException):
    """The process is dead from here on."""


class UnsyncedDisk(Disk):
    """Does not wait for the disk: what a process leaves to those after it does not depend on syncing."""

    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, path: str) -> None:
        pass


class CountingDisk(UnsyncedDisk):
    """Counts its calls, and does before each one whatever ``before`` is made to do.

    Closing is not counted: it changes nothing, and the system does it for the dead.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def before(self, call: str, fd: int = -1, data: bytes = b"", offset: int = 0) -> None:
        self.calls.append(call)

    def open(self, path: str, *, create: bool = False, new: bool = False) -> int:
        if (create or new) and not Path(path).exists():
            self.before("create")
        return super().open(path, create=create, new=new)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self.before("write", fd, data, offset)
        super().write(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        self.before("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self.before("sync", fd)
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self.before("sync_directory")
        super().sync_directory(path)

    def make_directory(self, path: str) -> None:
        self.before("make_directory")
        super().make_directory(path)

    def remove_directory(self, path: str) -> None:
        self.before("remove_directory")
        super().remove_directory(path)

    def rename(self, source: str, target: str) -> None:
        self.before("rename")
        super().rename(source, target)

    def exchange(self, one: str, other: str) -> bool:
        self.before("exchange")
        return super().exchange(one, other)

    def unlink(self, path: str) -> None:
        self.before("unlink")
        super().unlink(path)

    def link(self, source: str, target: str) -> None:
        self.before("link")
        super().link(source, target)


class MortalDisk(CountingDisk):
    """Kills the process at its call number ``last`` (from 0), of which a write is half done."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self._last = last

    def before(self, call: str, fd: int = -1, data: bytes = b"", offset: int = 0) -> None:
        if len(self.calls) >= self._last:
            if call == "write" and len(self.calls) == self._last:
                os.pwrite(fd, data[: len(data) // 2], offset)
            self.calls.append(call)
            raise Killed
        super().before(call, fd, data, offset)


class FailingDisk(CountingDisk):
    """Fails one call of the given kinds with an error, once it is armed; a failing write is half done before."""

    def __init__(self, code: int, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self._at = -1
        self._code = code
        self._which = kinds
        self.failed: str | None = None

    def arm(self, at: int) -> None:
        """Fail the call number ``at`` of these kinds from now on."""
        self.calls.clear()
        self._at = at

    def before(self, call: str, fd: int = -1, data: bytes = b"", offset: int = 0) -> None:
        if call not in self._which:
            return
        if len(self.calls) == self._at:
            self.failed = call
            self.calls.append(call)
            if call == "write" and self._code in (errno.ENOSPC, errno.EFBIG):
                os.pwrite(fd, data[: len(data) // 2], offset)
            raise OSError(self._code, os.strerror(self._code))
        super().before(call, fd, data, offset)
