"""The disk: every change to the file system goes through here, in terms of the system's own calls.

One object, so that tests can count the calls, fail them, and cut the power between any two of them.
"""

from __future__ import annotations

import fcntl
import os
import sys
from functools import cache
from typing import Any

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class Disk:
    """Changes to files and directories. Errors are ``OSError``; writes are whole or raise."""

    def open(self, path: str, *, create: bool = False, new: bool = False) -> int:
        """A descriptor for reading and writing; ``new`` insists that the file does not exist yet."""
        flags = os.O_RDWR | os.O_CLOEXEC
        if create or new:
            flags |= os.O_CREAT
        if new:
            flags |= os.O_EXCL
        return os.open(path, flags, FILE_MODE)

    def close(self, fd: int) -> None:
        """Close a descriptor of ``open``."""
        os.close(fd)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``. A full disk may leave a part of it written."""
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            step = os.pwrite(fd, memoryview(data)[written:], offset + written)
            written += step

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Make the file's content and size survive a power cut."""
        if sys.platform == "darwin":
            # There fsync leaves the data in the drive's cache.
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory survive a power cut."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_directory(self, path: str) -> None:
        """Make one directory; ``FileExistsError`` when it is there."""
        os.mkdir(path, DIRECTORY_MODE)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def rename(self, source: str, target: str) -> None:
        """Rename, replacing a file that has the target's name."""
        os.rename(source, target)

    def exchange(self, one: str, other: str) -> bool:
        """Give two files each other's names, atomically; False, and nothing changed, where that cannot be.

        One may be missing, the file system may not know how, a sandbox may forbid it: a plain rename tells why.
        """
        call = _renameat2()
        if call is None:
            return False
        done: int = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
        return done == 0

    def unlink(self, path: str) -> None:
        """Remove a file's name."""
        os.unlink(path)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name."""
        os.link(source, target)


# Of linux/fcntl.h and linux/fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@cache
def _renameat2() -> Any:
    """The C library's function of that name, which Python does not offer; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes  # only where it is used; there are Pythons that were built without it

        return getattr(ctypes.CDLL(None), "renameat2", None)
    except (ImportError, OSError):
        return None


def replace(disk: Disk, source: str, target: str) -> None:
    """Rename a file over another, atomically, without waiting for the disk.

    A plain rename over a file makes ext4 and btrfs write the new one out at once (mount option auto_da_alloc), for
    programs that do not sync. Here a journal holds it, so the two change places, and the old one is removed.
    """
    if disk.exchange(source, target):
        try:
            disk.unlink(source)
        except IsADirectoryError:
            # Somebody put it there: it goes back, and the rename says what is in the way.
            disk.exchange(source, target)
        else:
            return
    disk.rename(source, target)


def make_directories(disk: Disk, path: str) -> list[str]:
    """Make a directory and those above it that are missing; returns those made, the highest first."""
    try:
        disk.make_directory(path)
    except FileExistsError:
        return []
    except FileNotFoundError:
        made = make_directories(disk, os.path.dirname(path))
        try:
            disk.make_directory(path)  # what is not found even now cannot be made, as below a dangling link
        except FileExistsError:
            return made
        return [*made, path]
    return [path]


def replace_file(disk: Disk, path: str, temporary: str, data: bytes) -> None:
    """Write a whole file, durably, so that readers see the old or the new one; ``temporary`` is its first name."""
    fd = disk.open(temporary, create=True)
    try:
        disk.truncate(fd, 0)
        disk.write(fd, data, 0)
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.rename(temporary, path)
    disk.sync_directory(os.path.dirname(path))


def read_file(path: str) -> bytes:
    """The whole content of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        while len(data) <= size and (more := os.read(fd, size + 1 - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def remove_tree(disk: Disk, path: str) -> None:
    """Remove a directory and everything in it; what somebody else removed meanwhile does not matter."""
    try:
        with os.scandir(path) as entries:
            children = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except FileNotFoundError:
        return
    for child, is_directory in children:
        if is_directory:
            remove_tree(disk, child)
        else:
            try:
                disk.unlink(child)
            except FileNotFoundError:
                continue
    try:
        disk.remove_directory(path)
    except FileNotFoundError:
        return
