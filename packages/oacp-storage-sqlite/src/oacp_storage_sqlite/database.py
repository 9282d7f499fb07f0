"""The database file: made or recognised before SQLite touches it, and connected to."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from oacp_storage_core import StorageConfigError, StorageConnectionError
from oacp_storage_sqlite.faults import code_of, translate
from oacp_storage_sqlite.pushdown import install
from oacp_storage_sqlite.schema import APPLICATION_ID, foreign, pragma

OLDEST_SQLITE = (3, 35, 0)

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_EFFECTIVE = os.access in os.supports_effective_ids
_CHECKPOINT_PAGES = 1000  # SQLite's own: a log that soon begins again at its start is cheaper to sync
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_PATIENCE = 1.0
_SMALLEST = 512  # bytes of a database; SQLite takes a file of one byte for an empty one
_STATEMENTS = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``SQLiteStorage`` that concern the file. ``path`` is absolute; ``full``: durability."""

    path: str
    wal: bool
    full: bool
    auto_vacuum: bool
    cache_size: int

    def identity(self) -> tuple[int, int]:
        """What tells this file from another one that may take its name; ``StorageConnectionError`` when gone."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - asked at every commit, and a Path takes longer to make
        except OSError as exc:
            raise StorageConnectionError(
                f"{self.path}: the database cannot be found any more ({exc.strerror}); put it back, or close the "
                "storage"
            ) from exc
        return found.st_dev, found.st_ino

    def recognise(self) -> None:
        """Make the directory (0700) where missing, and refuse a file that cannot be ours.

        Raises ``StorageConfigError``; nothing of a foreign file is changed, nor anything put beside it. The file
        is never opened except by SQLite: closing any descriptor of a file gives up all POSIX locks that the
        process has on it, those of other connections too.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise StorageConfigError(
                f"SQLite {sqlite3.sqlite_version} is too old, {oldest} is needed: use a Python that brings it"
            )
        with self._readable_faults():
            path = Path(self.path)
            _make_directory(path.parent)
            self._check_access(path.parent)
            if path.exists():
                self._check_file(path)

    def make_empty(self) -> None:
        """Make an empty file (0600) where missing.

        To be called in turn: between making the file and closing it nobody else may lock it, see ``recognise``.
        """
        if Path(self.path).exists():
            return
        with self._readable_faults():
            try:
                fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE)
            except FileExistsError:
                return
            os.close(fd)
            _sync_directory(Path(self.path).parent)

    def connect_writer(
        self, prepare: Callable[[sqlite3.Connection], None] = lambda _: None
    ) -> sqlite3.Connection:
        """A connection for writing, which does not wait for locks; ``prepare`` is called with it before."""
        with self._connecting() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
            self.set_synchronous(connection)
            prepare(connection)
            self.set_synchronous(connection)
            connection.execute("PRAGMA busy_timeout = 0")
        return connection

    def connect_reader(self) -> sqlite3.Connection:
        """A connection that cannot write."""
        with self._connecting() as connection:
            connection.execute("PRAGMA query_only = ON")
            install(connection)
        return connection

    def set_synchronous(self, connection: sqlite3.Connection) -> str:
        """Set the durability that fits the journal mode, which is returned.

        Without a write-ahead log a commit ends with the removal of the journal: only EXTRA makes sure that it
        does not come back after a power cut and undo the commit; and below FULL a power cut may do damage.
        """
        mode = journal_mode(connection)
        level = ("FULL" if self.full else "NORMAL") if mode == "wal" else ("EXTRA" if self.full else "FULL")
        connection.execute(f"PRAGMA synchronous = {level}")
        return mode

    @contextmanager
    def _connecting(self) -> Iterator[sqlite3.Connection]:
        """A connection that is closed when it cannot be set up as it should be."""
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self.path))}?mode=rw",
            uri=True,
            timeout=_PATIENCE,
            isolation_level=None,
            check_same_thread=False,  # a fork closes it from another thread
            cached_statements=_STATEMENTS,
        )
        try:
            connection.text_factory = bytes
            connection.execute(f"PRAGMA cache_size = {self.cache_size}")
            yield connection
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def _readable_faults(self) -> Iterator[None]:
        """What the system refuses, as ``StorageConfigError``."""
        try:
            yield
        except OSError as exc:
            raise StorageConfigError(
                f"{self.path}: {exc.strerror or exc}; name a file in a directory that this user may write to"
            ) from exc

    def _check_access(self, target: Path) -> None:
        if not os.access(target, os.R_OK | os.W_OK, effective_ids=_EFFECTIVE):
            raise StorageConfigError(
                f"{target} is read-only for this user: SQLite must write the database and files beside it; "
                "change its permissions, or name another file"
            )

    def _check_file(self, path: Path) -> None:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise StorageConfigError(f"{path} is {kind}: name a file")
        self._check_access(path)
        if not found.st_size or self._has_journal():
            return  # new, or left by a crash while it was made: SQLite knows how to go on
        if found.st_size < _SMALLEST:
            raise _no_database(path)
        try:
            ours = self._is_ours()
        except sqlite3.DatabaseError as exc:
            if not path.stat().st_size or self._has_journal():
                return  # it is being made right now
            if code_of(exc) == sqlite3.SQLITE_CORRUPT and self._has_log():
                return  # a crash in the middle of a checkpoint: only together with its log is the file whole
            if code_of(exc) != sqlite3.SQLITE_NOTADB:
                raise translate(exc, self.path) from exc
            raise _no_database(path) from exc
        if not ours:
            raise foreign(self.path)

    def _has_journal(self) -> bool:
        return Path(f"{self.path}-journal").exists()

    def _has_log(self) -> bool:
        log = Path(f"{self.path}-wal")
        return log.exists() and log.stat().st_size > 0

    def _is_ours(self) -> bool:
        """Whether the database is ours or empty, found out without locks or other files.

        To open a foreign one as usual would already be to write beside it, or to tidy up after its last user.
        """
        uri = f"file:{quote(os.fsencode(self.path))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            application = pragma(connection, "application_id")
            if application:
                return application == APPLICATION_ID
            return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def journal_mode(connection: sqlite3.Connection) -> str:
    """The journal mode of the database: ``wal``, or one without write-ahead log."""
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return str(mode, "ascii") if isinstance(mode, bytes) else str(mode)


def _no_database(path: Path) -> StorageConfigError:
    return StorageConfigError(
        f"{path} is not an SQLite database; nothing was written to it: name another file"
    )


def _make_directory(directory: Path) -> None:
    """Make the directory and those above it that are missing, so that a power cut leaves them there."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
