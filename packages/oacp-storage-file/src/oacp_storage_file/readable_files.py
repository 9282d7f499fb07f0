"""The readable files: logs and documents, written behind the journal.

Nothing here is synced when it is written; the journal holds it all until a checkpoint syncs these files. Every
write can be repeated: offsets and whole contents are fixed by the journal.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import partial

from oacp_storage_file.disk import Disk, make_directories, replace
from oacp_storage_file.journal_format import FileRemoval, FileWrite, LogWrite, Write
from oacp_storage_file.layout import Layout
from oacp_storage_file.parallel import do_all

_MOST_OPEN = 128

Part = tuple[Write, bytes]


class Staged:
    """Writes of which everything that needs space is done; what makes documents visible is left."""

    def __init__(self) -> None:
        self.lengths: list[tuple[str, int]] = []  # of segments, as they were before
        self.renames: list[tuple[str, str]] = []
        self.removals: list[str] = []
        self.made: list[str] = []  # files and directories


class ReadableFiles:
    """Writes to the files below ``namespaces``. Only who holds the commit lock uses it."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk = disk
        self._layout = layout
        self._open: OrderedDict[str, int] = OrderedDict()

    def stage(self, parts: Iterable[Part], staged: Staged) -> None:
        """Do what may fail for want of space; on an error, ``undo`` takes it back."""
        for write, content in parts:
            if isinstance(write, LogWrite):
                staged.lengths.append((write.file, write.at))
                self._disk.write(self._descriptor(write.file, staged), content, write.at)
                continue
            path = self._layout.absolute(write.file)
            self._make_directories(os.path.dirname(path), staged)
            if isinstance(write, FileWrite):
                temporary = f"{self._layout.temporary}/{len(staged.renames)}"
                staged.renames.append((temporary, path))
                self._write_new(temporary, content)
            else:
                staged.removals.append(path)

    def publish(self, staged: Staged) -> None:
        """Make documents visible, and removed ones invisible."""
        for temporary, path in staged.renames:
            replace(self._disk, temporary, path)
        for path in staged.removals:
            with contextlib.suppress(FileNotFoundError):
                self._disk.unlink(path)

    def undo(self, staged: Staged) -> None:
        """Take back what was staged; durably, so that no power cut brings it back."""
        for temporary, _ in staged.renames:
            with contextlib.suppress(FileNotFoundError):
                self._disk.unlink(temporary)
        for file, length in reversed(staged.lengths):
            with contextlib.suppress(FileNotFoundError):
                fd = self._descriptor(file)
                self._disk.truncate(fd, length)
                self._disk.sync(fd)
        self.forget_all()
        for path in reversed(staged.made):
            if os.path.isdir(path):
                self._disk.remove_directory(path)
            else:
                self._disk.unlink(path)
        for parent in {os.path.dirname(path) for path in staged.made}:
            with contextlib.suppress(FileNotFoundError):
                self._disk.sync_directory(parent)

    def size(self, file: str) -> int:
        """The size of a segment; ``FileNotFoundError`` when there is none."""
        return os.fstat(self._descriptor(file)).st_size

    def read(self, file: str, start: int, size: int) -> bytes:
        """What stands in a segment."""
        return os.pread(self._descriptor(file), size, start)

    def truncate(self, file: str, size: int) -> None:
        """Cut a segment: a torn tail, or what stands behind the last commit."""
        self._disk.truncate(self._descriptor(file), size)

    def vanished(self, writes: Iterable[Write]) -> bool:
        """Whether a file that was written is gone, although nothing removed it in an orderly way."""
        last = {write.file: write for write in writes}
        for file, write in last.items():
            if isinstance(write, FileRemoval):
                continue
            fd = self._open.get(file)
            if fd is not None and os.fstat(fd).st_nlink == 0:
                return True
            if not os.path.exists(self._layout.absolute(file)):
                return True
        return False

    def forget_all(self) -> None:
        """Close all files, because others may stand in their places now."""
        while self._open:
            _, fd = self._open.popitem()
            self._disk.close(fd)

    def sync(self, files: Iterable[str]) -> None:
        """Make these files and the names in all directories above them durable."""
        wanted = set(files)
        directories = {above for file in wanted for above in self._above(self._layout.absolute(file))}
        do_all([partial(self._sync_file, file) for file in wanted])
        do_all([partial(self._sync_directory, path) for path in sorted(directories, key=len, reverse=True)])

    def _sync_file(self, file: str) -> None:
        fd = self._open.get(file)
        if fd is not None:
            self._disk.sync(fd)
            return
        try:
            fd = self._disk.open(self._layout.absolute(file))
        except FileNotFoundError:
            return  # removed, which the directory tells
        try:
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)

    def _sync_directory(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._disk.sync_directory(path)

    def _above(self, path: str) -> Iterator[str]:
        while path != self._layout.namespaces:
            path = os.path.dirname(path)
            yield path

    def _descriptor(self, file: str, staged: Staged | None = None) -> int:
        """The open segment; made, and noted in ``staged``, where it is missing and ``staged`` is given."""
        fd = self._open.get(file)
        if fd is not None:
            self._open.move_to_end(file)
            return fd
        while len(self._open) >= _MOST_OPEN:
            _, oldest = self._open.popitem(last=False)
            self._disk.close(oldest)
        path = self._layout.absolute(file)
        try:
            fd = self._disk.open(path)
        except FileNotFoundError:
            if staged is None:
                raise
            self._make_directories(os.path.dirname(path), staged)
            fd = self._disk.open(path, create=True)
            staged.made.append(path)
        self._open[file] = fd
        return fd

    def _make_directories(self, path: str, staged: Staged) -> None:
        if not os.path.isdir(path):
            staged.made += make_directories(self._disk, path)

    def _write_new(self, path: str, content: bytes) -> None:
        try:
            fd = self._disk.open(path, new=True)
        except (
            FileExistsError
        ):  # left by a process that was killed; as a file that was replaced it may be a backup's too
            self._disk.unlink(path)
            fd = self._disk.open(path, new=True)
        try:
            self._disk.write(fd, content, 0)
        finally:
            self._disk.close(fd)
