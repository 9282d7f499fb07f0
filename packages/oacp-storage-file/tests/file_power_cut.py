"""A model of a disk that loses power.

``RecordingDisk`` notes every change in order. ``after_cut`` makes the directory that may be left when power fails
after some of them: what was synced is there; of all else any part may be. Of unsynced data each sector of 512 bytes
survives or not by itself, and gaps read as NULs; of the unsynced changes to the names in a directory the first few
survive.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from file_faults import UnsyncedDisk

SECTOR = 512


@dataclass
class File:
    """A file's synced content, and the changes since: (offset, data), or (size, None) for a truncation."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _change(self.synced, *change)
        self.pending.clear()

    def survivor(self, rng: random.Random) -> bytes:
        content = bytearray(self.synced)
        mood = rng.choice((0.0, 0.5, 1.0))
        for offset, data in self.pending:
            if data is None:
                if rng.random() < mood:
                    _change(content, offset, None)
                continue
            for start, end in _sectors(offset, len(data)):
                if rng.random() < mood:
                    _change(content, start, data[start - offset : end - offset])
        return bytes(content)


@dataclass
class Directory:
    """The synced names in a directory, and the changes since: lists of (name, what it now is or None)."""

    synced: dict[str, Node] = field(default_factory=dict)
    pending: list[list[tuple[Directory, str, Node | None]]] = field(default_factory=list)

    def change(self, *changes: tuple[Directory, str, Node | None]) -> None:
        """Changes that happen together, as in a rename; they are synced with this directory."""
        self.pending.append(list(changes))

    def sync(self, count: int | None = None) -> None:
        for changes in self.pending[:count]:
            for directory, name, node in changes:
                if node is None:
                    directory.synced.pop(name, None)
                else:
                    directory.synced[name] = node
        del self.pending[:count]

    def now(self) -> dict[str, Node]:
        names = dict(self.synced)
        for changes in self.pending:
            for directory, name, node in changes:
                if directory is self and node is not None:
                    names[name] = node
                elif directory is self:
                    names.pop(name, None)
        return names


Node = File | Directory
Event = tuple[str, tuple[object, ...]]


class RecordingDisk(UnsyncedDisk):
    """Notes what is done, by path and not by descriptor; everything is also really done."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._files: dict[int, int] = {}
        self._next = 0

    def note(self, what: str, *arguments: object) -> None:
        self.events.append((what, arguments))

    def open(self, path: str, *, create: bool = False, new: bool = False) -> int:
        there = Path(path).exists()
        fd = super().open(path, create=create, new=new)
        if not there:
            self.note("create", path)
        self._next += 1
        self._files[fd] = self._next
        self.note("open", path, self._next)
        return fd

    def close(self, fd: int) -> None:
        del self._files[fd]
        super().close(fd)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        super().write(fd, data, offset)
        self.note("write", self._files[fd], bytes(data), offset)

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self.note("truncate", self._files[fd], size)

    def sync(self, fd: int) -> None:
        self.note("sync", self._files[fd])

    def sync_directory(self, path: str) -> None:
        self.note("sync_directory", path)

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        self.note("make_directory", path)

    def remove_directory(self, path: str) -> None:
        super().remove_directory(path)
        self.note("remove", path)

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self.note("rename", source, target)

    def exchange(self, one: str, other: str) -> bool:
        exchanged = super().exchange(one, other)
        if exchanged:
            self.note("exchange", one, other)
        return exchanged

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.note("remove", path)

    def link(self, source: str, target: str) -> None:
        super().link(source, target)
        self.note("link", source, target)


class Model:
    """The state of the disk after some events, below a directory that is there from the start."""

    def __init__(self, top: str) -> None:
        self._top = top
        self.root = Directory()
        self._opened: dict[object, File] = {}

    def play(self, event: Event) -> None:
        what, arguments = event
        getattr(self, f"_{what}")(*arguments)

    def _place(self, path: str) -> tuple[Directory, str]:
        directory = self.root
        *parents, name = os.path.relpath(path, self._top).split("/")
        for parent in parents:
            node = directory.now()[parent]
            assert isinstance(node, Directory), path
            directory = node
        return directory, name

    def _node(self, path: str) -> Node:
        directory, name = self._place(path)
        return directory if name == "." else directory.now()[name]

    def _create(self, path: str) -> None:
        directory, name = self._place(path)
        directory.change((directory, name, File()))

    def _open(self, path: str, number: int) -> None:
        node = self._node(path)
        assert isinstance(node, File), path
        self._opened[number] = node

    def _write(self, number: int, data: bytes, offset: int) -> None:
        self._opened[number].pending.append((offset, data))

    def _truncate(self, number: int, size: int) -> None:
        self._opened[number].pending.append((size, None))

    def _sync(self, number: int) -> None:
        self._opened[number].sync()

    def _sync_directory(self, path: str) -> None:
        node = self._node(path)
        assert isinstance(node, Directory), path
        node.sync()

    def _make_directory(self, path: str) -> None:
        directory, name = self._place(path)
        directory.change((directory, name, Directory()))

    def _remove(self, path: str) -> None:
        directory, name = self._place(path)
        directory.change((directory, name, None))

    def _rename(self, source: str, target: str) -> None:
        node = self._node(source)
        old, old_name = self._place(source)
        new, new_name = self._place(target)
        new.change((old, old_name, None), (new, new_name, node))
        if old is not new:  # what the old directory holds until then was made there, in this order
            old.sync()

    def _exchange(self, one: str, other: str) -> None:
        first, second = self._node(one), self._node(other)
        (old, old_name), (new, new_name) = self._place(one), self._place(other)
        new.change((old, old_name, second), (new, new_name, first))
        if old is not new:
            old.sync()

    def _link(self, source: str, target: str) -> None:
        node = self._node(source)
        directory, name = self._place(target)
        directory.change((directory, name, node))


def after_cut(events: list[Event], top: str, count: int, rng: random.Random, target: Path) -> None:
    """Make in ``target`` what may be left of ``top`` when power fails after the first ``count`` events."""
    model = Model(top)
    for event in events[:count]:
        model.play(event)
    _settle(model.root, rng, set())
    _write_out(model.root, target, rng, {})


def _settle(directory: Directory, rng: random.Random, seen: set[int]) -> None:
    """Let some of the pending changes of names survive, here and below."""
    if id(directory) in seen:
        return
    seen.add(id(directory))
    children = [*directory.synced.values()]
    children += [node for changes in directory.pending for _, _, node in changes if node is not None]
    for node in children:
        if isinstance(node, Directory):
            _settle(node, rng, seen)
    directory.sync(rng.choice((0, rng.randint(0, len(directory.pending)), len(directory.pending))))


def _write_out(directory: Directory, target: Path, rng: random.Random, written: dict[int, Path]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, node in directory.synced.items():
        path = target / name
        if isinstance(node, Directory):
            _write_out(node, path, rng, written)
        elif id(node) in written:
            path.hardlink_to(written[id(node)])
        else:
            path.write_bytes(node.survivor(rng))
            written[id(node)] = path


def _sectors(offset: int, size: int) -> Iterator[tuple[int, int]]:
    start = offset
    while start < offset + size:
        end = min(start - start % SECTOR + SECTOR, offset + size)
        yield start, end
        start = end


def _change(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
