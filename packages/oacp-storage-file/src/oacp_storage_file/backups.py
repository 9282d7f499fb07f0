"""The backups of a store: taken, listed, thinned out and brought back."""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from oacp_storage_core import StorageConfigError
from oacp_storage_file.backup import Backup, copy_file
from oacp_storage_file.disk import Disk, make_directories, read_file, remove_tree, replace_file
from oacp_storage_file.format_mark import read_schema
from oacp_storage_file.layout import SCHEMA, Layout
from oacp_storage_file.locks import LockFile
from oacp_storage_file.store import Store

_NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}\.\d{6}Z")
_TIME = "%Y-%m-%dT%H-%M-%S.%fZ"
_ABOUT = "backup.json"
_NOT_RESTORED = re.compile(r"position|.*\.lock|new|trash")


class About(msgspec.Struct):
    """What stands in a backup's ``backup.json``: when it was taken, and the store's counter then."""

    taken_at: str
    counter: int


def list_backups(layout: Layout) -> list[str]:
    """The paths of all backups, oldest first."""
    try:
        names = os.listdir(layout.backups)
    except FileNotFoundError:
        return []
    return [f"{layout.backups}/{name}" for name in sorted(names) if _NAME.fullmatch(name)]


def taken_at(path: str) -> datetime:
    """When a backup was taken, by its name."""
    return datetime.strptime(os.path.basename(path), _TIME).replace(tzinfo=UTC)


def take_backup(store: Store, keep: int | None) -> str | None:
    """Take a backup now and remove all but the newest ``keep``; its path, or None while another is being taken."""
    lock = LockFile(store.layout.inner("backup.lock"))
    try:
        if not lock.try_acquire():
            return None
        path = _take(store)
        for old in list_backups(store.layout)[: -keep or None] if keep is not None else ():
            _remove(store.disk, store.layout, old)
        return path
    finally:
        lock.close()


def changed_since(layout: Layout, counter: int) -> bool:
    """Whether the newest backup does not hold the state with this counter."""
    backups = list_backups(layout)
    if not backups:
        return True
    try:
        about = msgspec.json.decode(read_file(f"{backups[-1]}/{_ABOUT}"), type=About)
    except (OSError, msgspec.MsgspecError):
        return True
    return about.counter != counter


def _take(store: Store) -> str:
    disk, layout = store.disk, store.layout
    unfinished = f"{layout.internal}/backup"
    remove_tree(disk, unfinished)  # of a process that died
    disk.make_directory(unfinished)
    moment = datetime.now(UTC).strftime(_TIME)
    counter = Backup(store, unfinished).take()
    about = msgspec.json.encode(About(moment, counter)) + b"\n"
    replace_file(disk, f"{unfinished}/{_ABOUT}", f"{layout.temporary}/about", about)
    make_directories(disk, layout.backups)
    path = f"{layout.backups}/{moment}"
    disk.rename(unfinished, path)
    disk.sync_directory(layout.backups)
    disk.sync_directory(layout.root)
    return path


def _remove(disk: Disk, layout: Layout, path: str) -> None:
    """Rename first: half a backup must not be taken for one."""
    dying = f"{layout.trash}/backup-{secrets.token_hex(4)}"
    disk.rename(path, dying)
    disk.sync_directory(layout.backups)
    remove_tree(disk, dying)


def restore_backup(disk: Disk, backup: Path, directory: Path) -> None:
    """Copy a backup to a new or empty directory, durably; ``StorageConfigError`` when either cannot be used."""
    source, target = Layout(os.path.abspath(backup)), os.path.abspath(directory)
    if read_schema(source) > SCHEMA:
        raise StorageConfigError(
            f"the backup {source.root} was made by a newer release of oacp-storage-file: restore it with that"
        )
    if os.path.exists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise StorageConfigError(f"{target} is not empty: restore into a new directory, then use that one")
    unfinished = f"{target}.restoring-{secrets.token_hex(4)}"
    in_use = _refuse_one_in_use(source)
    try:
        _copy_tree(disk, source.root, unfinished)
        disk.rename(unfinished, target)
        disk.sync_directory(os.path.dirname(target))
    except OSError as exc:
        remove_tree(disk, unfinished)
        raise StorageConfigError(f"{source.root} cannot be restored to {target}: {exc}") from exc
    finally:
        if in_use is not None:
            in_use.close()


def _refuse_one_in_use(source: Layout) -> LockFile | None:
    """A lock that keeps others from opening a backup that was opened before; None where none ever was."""
    path = source.inner("in-use.lock")
    if not os.path.exists(path):
        return None
    lock = LockFile(path)
    if lock.try_acquire():
        return lock
    lock.close()
    raise StorageConfigError(
        f"{source.root} is in use, so that copying it would not be consistent: close it, or restore one of its "
        "backups"
    )


def _copy_tree(disk: Disk, source: str, target: str) -> None:
    """Copy everything but what belongs to running processes; a backup that was opened has a journal."""
    for directory, directories, files in os.walk(source):
        relative = os.path.relpath(directory, source)
        inner = relative == ".oacp"
        if inner:
            directories[:] = [name for name in directories if not _NOT_RESTORED.fullmatch(name)]
        elif relative == ".":
            directories[:] = [name for name in directories if name != "backups"]
        here = f"{target}/{relative}"
        make_directories(disk, os.path.normpath(here))
        for name in files:
            if inner and _NOT_RESTORED.fullmatch(name):
                continue
            copied = f"{here}/{name}"
            copy_file(disk, f"{directory}/{name}", copied, 0)
            fd = disk.open(copied)
            try:
                disk.sync(fd)
            finally:
                disk.close(fd)
        disk.sync_directory(os.path.normpath(here))
