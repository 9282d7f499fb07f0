"""Erasure: everything of an agent goes. It is renamed away at once, then removed file by file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

from oacp_storage_engine import Erased
from oacp_storage_file.disk import Disk, make_directories, replace_file
from oacp_storage_file.layout import LEARNING, STATE_FILE, NamespaceLayout, segment_first
from oacp_storage_file.locks import LockFile
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import AgentFile, format_manifest
from oacp_storage_file.store import Store

_BLOCK = 1024 * 1024


class Trash:
    """An agent's directory on its way out. Its lock says that somebody is still removing it."""

    def __init__(self, path: str, lock: LockFile) -> None:
        self._path = path
        self._lock = lock

    def remove(self, disk: Disk, limit: int) -> Erased:
        """Remove about ``limit`` records, a file at a time, and count them."""
        interactions = states = learning = 0
        for path, is_directory in _bottom_up(self._path):
            if interactions + states + learning >= limit:
                return Erased(interactions, states, learning, more=True)
            try:
                if is_directory:
                    disk.remove_directory(path)
                    continue
                lines = _count_lines(path) if segment_first(os.path.basename(path)) is not None else 0
                disk.unlink(path)
            except FileNotFoundError:
                continue
            interactions += lines
            states += os.path.basename(path) == STATE_FILE
            learning += os.path.basename(os.path.dirname(path)) == LEARNING
        disk.unlink(_lock_path(self._path))
        self.release()
        return Erased(interactions, states, learning)

    def release(self) -> None:
        """Leave what is left to others."""
        self._lock.close()


def hide(store: Store, names: NamespaceLayout, agent: str) -> Trash | None:
    """Make the agent disappear, keeping its last sequence; None when there is no such agent."""
    layout, disk = store.layout, store.disk
    with store.locked():
        with LogView(layout, names, agent) as view:
            exists, head, directory = view.exists, view.head, view.directory
        if not exists:
            return None
        path = f"{layout.trash}/{names.identity(agent)}-{secrets.token_hex(4)}"
        lock = LockFile(_lock_path(path))
        try:
            with store.beside_the_journal():
                if head:
                    make_directories(disk, layout.absolute(names.erased))
                    tombstone = layout.absolute(names.tombstone(agent))
                    content = format_manifest(AgentFile(head))
                    replace_file(disk, tombstone, f"{layout.temporary}/tombstone", content)
                    disk.sync_directory(layout.absolute(names.root))
                lock.acquire()
                disk.rename(directory, path)
                disk.sync_directory(os.path.dirname(directory))
                disk.sync_directory(layout.trash)
        except BaseException:
            lock.close()
            raise
        return Trash(path, lock)


def abandoned(store: Store, identity: str = "") -> list[Trash]:
    """What was hidden by processes that died, of one agent or of all; the rest is left to its owners."""
    found: list[Trash] = []
    with store.locked():
        for name in sorted({name.removesuffix(".lock") for name in os.listdir(store.layout.trash)}):
            if not name.startswith(identity):
                continue
            path = f"{store.layout.trash}/{name}"
            lock = LockFile(_lock_path(path))
            if lock.try_acquire():
                found.append(Trash(path, lock))
            else:
                lock.close()
    return found


def _bottom_up(path: str) -> Iterator[tuple[str, bool]]:
    """Everything in a directory before the directory itself: paths, and whether they are directories."""
    for directory, directories, files in os.walk(path, topdown=False):
        for name in files:
            yield f"{directory}/{name}", False
        for name in directories:
            yield f"{directory}/{name}", True
    yield path, True


def _lock_path(path: str) -> str:
    return f"{path}.lock"


def _count_lines(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        count = 0
        while block := os.read(fd, _BLOCK):
            count += block.count(b"\n")
        return count
    finally:
        os.close(fd)
