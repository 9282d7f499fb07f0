"""Inspection: the condition of the database as SQLite tells it, and damage that reading records would not show."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from oacp_storage_core import Damage, Durability
from oacp_storage_engine import Info
from oacp_storage_sqlite import sql
from oacp_storage_sqlite.database import Settings, journal_mode
from oacp_storage_sqlite.faults import described, is_damage
from oacp_storage_sqlite.schema import INCREMENTAL, pragma, version_of

_NORMAL, _FULL, _EXTRA = 1, 2, 3
_MAX_FAULTS = 100
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"}
_MEMORY = {"tmpfs", "ramfs"}


class Written(NamedTuple):
    """What the writer's connection is set to."""

    journal_mode: str
    synchronous: int


def written_by(connection: sqlite3.Connection) -> Written:
    """What the writer's connection is set to, as SQLite tells it."""
    return Written(journal_mode(connection), pragma(connection, "synchronous"))


def inspect(connection: sqlite3.Connection, settings: Settings, writer: Written) -> Info:
    """The condition of the database, read on any connection; ``writer`` as of the writer's."""
    warnings: list[str] = []
    mode = journal_mode(connection)
    if settings.wal and mode != "wal":
        warnings.append(
            f"The journal mode is {mode}, not WAL: readers and writers wait for each other. The file system "
            "may not allow shared memory, or another process had the database open; open it alone once."
        )
    elif not settings.wal and mode == "wal":
        warnings.append(
            "The journal mode is WAL although enable_wal_mode is False: another process has the database open; "
            "open it alone once."
        )
    if settings.auto_vacuum and pragma(connection, "auto_vacuum") != INCREMENTAL:
        warnings.append(
            "The file does not shrink after deletions: it was made without auto_vacuum. Close all storages and "
            "run `PRAGMA auto_vacuum = 2; VACUUM;` with the sqlite3 command once, or set auto_vacuum=False."
        )
    durability = durability_of(mode, writer.synchronous)
    file_system = _file_system(settings.path)
    if file_system in _NETWORK:
        warnings.append(
            f"The database is on a network file system ({file_system}): use it from one machine only, and expect "
            "its locks and durability to be those of that file system; PostgreSQL serves several machines."
        )
    if file_system in _MEMORY:
        durability = "crash"
        warnings.append(f"The database is in memory ({file_system}): it is gone after a reboot or power cut.")
    elif durability == "crash":
        warnings.append(
            "With durability='normal' a power cut may undo the last commits; the default survives it."
        )
    return Info(sqlite3.sqlite_version, version_of(connection), durability, tuple(warnings))


def faults(connection: sqlite3.Connection) -> list[Damage]:
    """Damage of the file as a whole: what SQLite's integrity check finds, and rows that belong to nothing."""
    found: list[Damage] = []
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({_MAX_FAULTS})"):
            text = line.decode(errors="replace") if isinstance(line, bytes) else str(line)
            if text != "ok":
                found.append(Damage("store", f"the database file: {text}"))
        for what, statement in (
            ("interactions", sql.ORPHANED_INTERACTIONS),
            ("documents", sql.ORPHANED_DOCUMENTS),
        ):
            count = connection.execute(statement).fetchone()[0]
            if count:
                reason = f"{count:,} {what} belong to no agent: a part of the list of agents is lost"
                found.append(Damage("store", reason))
    except sqlite3.DatabaseError as exc:
        if not is_damage(exc):
            raise
        found.append(Damage("store", f"the database file: {described(exc)}"))
    return found


def durability_of(mode: str, synchronous: int) -> Durability:
    """What commits survive at this journal mode and ``PRAGMA synchronous``."""
    if mode in {"memory", "off"} or synchronous < _NORMAL:
        return "none"
    return "power-cut" if synchronous >= (_FULL if mode == "wal" else _EXTRA) else "crash"


def _file_system(path: str) -> str:
    """The type of the file system that the path is on, empty where the system does not tell."""
    try:
        device = Path(path).stat().st_dev
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""
