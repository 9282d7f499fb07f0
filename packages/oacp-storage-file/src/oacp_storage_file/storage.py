"""``FileStorage``: the backend on plain, readable JSON files."""

from __future__ import annotations

import os
import re
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from oacp_storage_core import (
    ALL_CAPABILITIES,
    Capability,
    StorageConfigError,
    StorageError,
    redact_url,
    typed_options,
)
from oacp_storage_core.near_miss import did_you_mean
from oacp_storage_engine import Engine, EngineStorage
from oacp_storage_file.auto_backup import Schedule
from oacp_storage_file.backups import restore_backup, take_backup
from oacp_storage_file.disk import Disk
from oacp_storage_file.engine import FileEngine
from oacp_storage_file.inventory import take_inventory
from oacp_storage_file.layout import Layout
from oacp_storage_file.place import is_missing
from oacp_storage_file.store import Store
from oacp_storage_file.worker import in_thread

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE)


class FileStorage(EngineStorage):
    """A storage in a directory of JSON files, for any number of processes of one machine.

    - ``directory``: where the data is; it is made when it is missing. One that holds something else is refused.
    - ``auto_backup``: take consistent backups in the background, under ``backups/`` in the directory, whenever the
      newest is ``backup_interval`` seconds old and something changed; all but the newest ``backup_keep`` go.
    - ``max_file_size``: when a file of a log is as large, a new one begins; bytes, or ``"100MB"``, ``"64MiB"``.
    - ``namespace``, ``coerce``, ``timeout``: as for every storage (see ``EngineStorage``).

    An acknowledged write survives a power cut: it is synced to the disk.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    @typed_options
    def __init__(
        self,
        directory: str | os.PathLike[str] = "./oacp-data",
        *,
        auto_backup: bool = False,
        backup_interval: float = 3600,
        backup_keep: int = 24,
        max_file_size: int | str = "100MB",
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)
        if not os.fspath(directory):
            raise StorageConfigError("directory is empty: name one, for example ./oacp-data")
        if not backup_interval > 0:
            raise StorageConfigError(
                f"backup_interval must be a positive number of seconds, not {backup_interval!r}"
            )
        if backup_keep < 1:
            raise StorageConfigError(f"backup_keep must be at least 1, not {backup_keep!r}")
        self.directory = Path(os.path.abspath(directory))
        self._max_file_size = parse_size(max_file_size)
        self._schedule = Schedule(backup_interval, backup_keep) if auto_backup else None

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The storage of ``file:///absolute/directory``; the path is percent-encoded, as in every URL."""
        host, slash, path = url.partition("://")[2].partition("/")
        if host not in ("", "localhost") or not slash:
            raise StorageConfigError(
                f"the URL {redact_url(url)} names no directory of this machine: write file:///absolute/directory, "
                "or use the name 'file' with directory= for a relative one"
            )
        path, _, unknown = path.partition("?")
        if unknown:
            known = list(signature(cls).parameters)[1:]
            name = unknown.partition("=")[0]
            raise StorageConfigError(
                f"the URL {redact_url(url)} has the option {name!r}, which FileStorage does not know"
                f"{did_you_mean(name, known)}; it knows {', '.join(known)} (a ? in a name is written %3F)"
            )
        return cls(unquote(f"/{path}"), **options)

    async def missing_store(self) -> str | None:
        return str(self.directory) if is_missing(Layout(str(self.directory))) else None

    def _make_engine(self) -> Engine:
        return FileEngine(
            str(self.directory), self.namespace, max_file_size=self._max_file_size, schedule=self._schedule
        )

    async def backup(self) -> Path:
        """Take a backup now, of all namespaces, and return its directory; writers hardly wait for it.

        It does not count for ``backup_keep`` unless ``auto_backup`` is on. ``StorageError`` when another is being
        taken.
        """
        await self.open()
        return await in_thread("backup", lambda: backup_directory(self.directory))

    @staticmethod
    async def restore(backup: str | os.PathLike[str], directory: str | os.PathLike[str]) -> None:
        """Copy a backup into a new or empty directory, which ``FileStorage`` can then open.

        The backup stays as it is. ``StorageConfigError`` when the directory holds anything.
        """
        await in_thread("restore", lambda: restore_backup(Disk(), Path(backup), Path(directory)))


def backup_directory(directory: Path) -> Path:
    """Take a backup of the store in a directory, which may be in use; returns the backup's directory."""
    store = Store.open(Layout(str(directory)), Disk())
    try:
        path = take_backup(store, None)
    finally:
        store.close()
    if path is None:
        raise StorageError(f"another backup of {directory} is being taken; wait for it")
    return Path(path)


def accept_losses(directory: Path) -> list[str]:
    """No longer miss what was removed by hand from a store, which may be in use.

    Returns the directories of agents and namespaces concerned. Last sequences stay as they were.
    """
    store = Store.open(Layout(str(directory)), Disk())
    try:
        with store.locked(), store.beside_the_journal():
            return take_inventory(store.disk, store.layout, f"{store.layout.temporary}/manifest")
    finally:
        store.close()


def parse_size(size: int | str) -> int:
    """Bytes of ``100_000_000``, ``"100MB"`` or ``"64MiB"``; ``StorageConfigError`` for anything else."""
    number = 0
    if isinstance(size, str) and (match := _SIZE.fullmatch(size.strip())):
        base = 1024 if match[3] else 1000
        number = int(float(match[1]) * base ** " kmgt".index(match[2].lower() or " "))
    elif isinstance(size, int) and not isinstance(size, bool):
        number = size
    if number < 1:
        raise StorageConfigError(
            f'max_file_size {size!r} is no size: give bytes, or text such as "100MB" or "64MiB"'
        )
    return number
