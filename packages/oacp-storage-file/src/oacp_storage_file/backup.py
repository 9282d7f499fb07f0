"""Backups: consistent copies of a store that is in use, each itself a directory that FileStorage can open.

Files that never change in place (documents, and segments but the last) are hard-linked, the last segments copied; a
long last segment is ended first, so that it need not be copied. Most of it happens without the commit lock. Under the
lock, what the journal says was written meanwhile is brought up to date.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from oacp_storage_file.disk import Disk, make_directories, read_file, remove_tree
from oacp_storage_file.inventory import update_manifests
from oacp_storage_file.journal_format import FileRemoval, LogWrite, Write
from oacp_storage_file.layout import (
    AGENT_FILE,
    IDS_FILE,
    Layout,
    NamespaceLayout,
    segment_first,
    segment_name,
)
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import read_agent_file
from oacp_storage_file.naming import Kind, decode, is_hashed
from oacp_storage_file.store import Store

_WORTH_ENDING = 1024 * 1024
_BLOCK = 1024 * 1024
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES}


class Backup:
    """One backup being made in ``target``, a directory on the same file system that does not exist yet."""

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._disk = store.disk
        self._source = store.layout
        self._target = Layout(target)
        self._taken: set[str] = set()
        self._copied: dict[str, int] = {}  # their sizes; all others are links
        self._unsynced: set[str] = set()  # what was written after the last checkpoint

    def take(self) -> int:
        """Make the backup, durably; returns the store's counter at its moment."""
        counter = self._take_beside_writers()
        if counter is None:  # files were replaced meanwhile: once more, with everybody waiting
            remove_tree(self._disk, self._target.root)
            self._copied.clear()
            self._taken.clear()
            with self._store.locked():
                self._store.checkpoint()
                self.copy_all()
                counter = self._store.position.counter
        self.complete()
        return counter

    def _take_beside_writers(self) -> int | None:
        """The backup, or None when more happened beside it than writes that stand in the journal."""
        store = self._store
        for names, agent in self._long_tails():
            with store.locked():
                self._end_segment(names, agent)
        with store.locked():
            store.checkpoint()
            begun = store.position
        self.copy_all()
        with store.locked():
            now = store.position
            if (now.epoch, now.generation) != (begun.epoch, begun.generation):
                return None
            self.bring_up_to_date(store.writes_since(begun))
            return now.counter

    # --- ending long segments -----------------------------------------------------------------------------

    def _long_tails(self) -> Iterator[tuple[NamespaceLayout, str]]:
        for namespace in _names_in(self._source.namespaces, Kind.NAMESPACE):
            names = NamespaceLayout(namespace)
            agents = self._source.absolute(names.agents)
            for agent in _names_in(agents, Kind.AGENT):
                directory = self._source.absolute(names.agent(agent))
                last = max((first for first in map(segment_first, _entries(directory)) if first), default=0)
                if last and os.stat(f"{directory}/{segment_name(last)}").st_size > _WORTH_ENDING:
                    yield names, agent

    def _end_segment(self, names: NamespaceLayout, agent: str) -> None:
        """Begin an empty segment, as a commit of its own, so that the one before is never written to again."""
        with LogView(self._source, names, agent) as view:
            head = view.head
            if not view.firsts or view.firsts[-1] > head:
                return
        file = f"{names.agent(agent)}/{segment_name(head + 1)}"
        write = LogWrite(file, 0, 0, head)
        self._store.write([write], [b""])
        self._store.caches.note(write)

    # --- copying ------------------------------------------------------------------------------------------

    def copy_all(self) -> None:
        """Link or copy everything, as it is at the moment."""
        make_directories(self._disk, self._target.namespaces)
        for file in self._walk(""):
            self._take_file(file)

    def _walk(self, directory: str) -> Iterator[str]:
        """All files below ``namespaces`` that belong into a backup, relative to it."""
        path = self._source.absolute(directory) if directory else self._source.namespaces
        for name in sorted(_entries(path)):
            file = f"{directory}/{name}" if directory else name
            if os.path.isdir(f"{path}/{name}"):
                make_directories(self._disk, self._target.absolute(file))
                yield from self._walk(file)
            elif not name.startswith(IDS_FILE):
                yield file

    def _take_file(self, file: str) -> None:
        """Link or copy one file, replacing what was taken of it before."""
        source, target = self._source.absolute(file), self._target.absolute(file)
        self._drop(file)
        make_directories(self._disk, os.path.dirname(target))
        try:
            if self._is_last_segment(file):
                self._copy_rest(file, 0)
            else:
                self._disk.link(source, target)
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            self._copy_rest(file, 0)
        self._taken.add(file)

    def _is_last_segment(self, file: str) -> bool:
        directory, _, name = file.rpartition("/")
        first = segment_first(name)
        if first is None:
            return False
        others = map(segment_first, _entries(self._source.absolute(directory)))
        return not any(other is not None and other > first for other in others)

    def _drop(self, file: str) -> None:
        self._taken.discard(file)
        self._copied.pop(file, None)
        self._unsynced.discard(file)
        try:
            self._disk.unlink(self._target.absolute(file))
        except FileNotFoundError:
            return

    def bring_up_to_date(self, writes: list[Write]) -> None:
        """Repeat what was written since the last checkpoint before copying; under the lock."""
        lengths: dict[str, int] = {}
        for write in writes:
            if isinstance(write, LogWrite):
                lengths[write.file] = min(write.at, lengths.get(write.file, write.at))
        for file in {write.file for write in writes} - lengths.keys():
            self._take_file(file)
            self._unsynced.add(file)
        for write in writes:
            if isinstance(write, FileRemoval):
                make_directories(self._disk, os.path.dirname(self._target.absolute(write.file)))
        for file, kept in lengths.items():
            if file not in self._copied:
                self._take_file(file)
                self._unsynced.add(file)
            else:
                self._copy_rest(file, min(kept, self._copied[file]))
        for directory, firsts in self._logs().items():
            self._compare_end(directory, firsts, lengths)
        update_manifests(self._disk, self._target, writes, f"{self._source.temporary}/manifest")

    def _logs(self) -> dict[str, list[int]]:
        """The segments taken, by directory."""
        logs: dict[str, list[int]] = {}
        for file in self._taken:
            directory, _, name = file.rpartition("/")
            first = segment_first(name)
            if first is not None:
                logs.setdefault(directory, []).append(first)
        return logs

    def _compare_end(self, directory: str, firsts: list[int], lengths: dict[str, int]) -> None:
        """Undo what was taken of a commit that failed; the last segment must be a copy of its own.

        Such a commit may have made segments, and an agent, that are gone again, so that the segment before them,
        which seemed to be ended and was linked, is written to as before.
        """
        for first in sorted(firsts, reverse=True):
            file = f"{directory}/{segment_name(first)}"
            try:
                size = os.stat(self._source.absolute(file)).st_size
            except FileNotFoundError:
                self._drop(file)
                continue
            if file not in self._copied:
                self._drop(file)
                self._copy_rest(file, 0)
                self._taken.add(file)
            elif size != self._copied[file] and file not in lengths:
                self._copy_rest(file, 0)
            return
        if not os.path.isdir(self._source.absolute(directory)):
            remove_tree(self._disk, self._target.absolute(directory))

    def _copy_rest(self, file: str, start: int) -> None:
        source, target = self._source.absolute(file), self._target.absolute(file)
        self._copied[file] = copy_file(self._disk, source, target, start)
        self._unsynced.add(file)

    # --- durability ---------------------------------------------------------------------------------------

    def complete(self) -> None:
        """Complete the backup, and make it durable: first everything else, then its mark."""
        for file in self._unsynced:
            try:
                fd = self._disk.open(self._target.absolute(file))
            except FileNotFoundError:
                continue  # a removed document
            try:
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
        marks = (self._source.readme, self._source.gitignore, self._source.format_file)
        for path in marks:
            fd = self._disk.open(f"{self._target.root}/{os.path.basename(path)}", create=True)
            try:
                self._disk.write(fd, read_file(path), 0)
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
        for directory, _, _ in os.walk(self._target.root):
            self._disk.sync_directory(directory)


def copy_file(disk: Disk, source: str, target: str, start: int) -> int:
    """Copy a file from the offset ``start`` on, and give the copy its length; returns that."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = disk.open(target, create=True)
        try:
            offset = start
            while block := os.pread(reading, _BLOCK, offset):
                disk.write(writing, block, offset)
                offset += len(block)
            disk.truncate(writing, offset)
            return offset
        finally:
            disk.close(writing)
    finally:
        os.close(reading)


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _names_in(directory: str, kind: Kind) -> Iterator[str]:
    """The names that directories stand for."""
    for entry in _entries(directory):
        name = decode(kind, entry)
        if name is None and is_hashed(kind, entry):
            kept = read_agent_file(f"{directory}/{entry}/{AGENT_FILE}")
            name = kept.agent_id if kept is not None else None
        if name is not None:
            yield name
