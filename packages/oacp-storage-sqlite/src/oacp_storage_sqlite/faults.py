"""From sqlite3's errors to those of the contract: what happened, where, and what to do about it."""

from __future__ import annotations

import sqlite3

from oacp_storage_core import (
    CorruptDataError,
    OutcomeUnknownError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
)
from oacp_storage_engine import NotApplied

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_AFTER_WRITING = {
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_DELETE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
}
_CORRUPT_EXTENDED = {sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}


def code_of(exc: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 for errors that sqlite3 raises on its own account."""
    extended: int = getattr(exc, "sqlite_errorcode", 0)
    return extended & 0xFF


def is_busy(exc: sqlite3.Error) -> bool:
    """Whether another connection is in the way, for now."""
    return code_of(exc) in _BUSY


def is_damage(exc: sqlite3.Error) -> bool:
    """Whether the file does not hold what SQLite wrote into it."""
    extended = getattr(exc, "sqlite_errorcode", 0)
    return code_of(exc) in _CORRUPT or extended in _CORRUPT_EXTENDED


def is_io_error(exc: sqlite3.Error) -> bool:
    """Whether the operating system failed to read, write or sync."""
    return code_of(exc) == sqlite3.SQLITE_IOERR and not is_damage(exc)


def leaves_doubt(exc: sqlite3.Error) -> bool:
    """Whether a commit that ended so may have reached the disk: everything was written, and the rest failed."""
    return getattr(exc, "sqlite_errorcode", 0) in _AFTER_WRITING


def described(exc: sqlite3.Error) -> str:
    """The error in SQLite's words, with the name of its code where it has one."""
    name = getattr(exc, "sqlite_errorname", "")
    return f"{exc} ({name})" if name else str(exc)


def in_doubt(exc: sqlite3.Error, path: str) -> OutcomeUnknownError:
    """The error for a commit of which nobody knows whether it is on the disk.

    It is not tried again here: after a failed sync the system may report success for data that it has lost.
    """
    return OutcomeUnknownError(
        f"{path}: {described(exc)}: the disk failed at the end of a commit, which may or may not be there; look at "
        "the system's log, and repeat the call with the same ids"
    )


def translate(exc: sqlite3.Error, path: str) -> StorageError:
    """The error for a database at ``path`` of which nothing was changed; raise it ``from exc``."""
    what = f"{path}: {described(exc)}"
    code = code_of(exc)
    if code in _BUSY:
        return NotApplied(f"{what}: another connection kept the database locked; close it, or raise timeout=")
    if is_damage(exc):
        return CorruptDataError(
            f"{what}: the database file is damaged; restore it from a backup, or save what can be read with "
            "the sqlite3 command `.recover`"
        )
    if code == sqlite3.SQLITE_FULL:
        return StorageError(
            f"{what}: the disk is full, and nothing was written; make room and repeat the call"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StorageConfigError(
            f"{what}: make the file and its directory writable for this user; nothing was written"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StorageConnectionError(
            f"{what}: look whether the file and its directory are still there and may be opened by this user, "
            "and whether the limit of open files is reached"
        )
    if code == sqlite3.SQLITE_IOERR:
        return StorageConnectionError(f"{what}: reading or writing the disk failed; look at the system's log")
    if code == sqlite3.SQLITE_NOMEM:
        return StorageError(f"{what}: there was no memory left; nothing was written")
    return StorageError(f"{what}: nothing was written")
