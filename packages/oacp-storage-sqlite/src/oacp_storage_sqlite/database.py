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
from oacp_storage_sqlite.pushdown import install
from oacp_storage_sqlite.schema import APPLICATION_ID, foreign

OLDEST_SQLITE = (3, 35, 0)

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_EFFECTIVE = os.access in os.supports_effective_ids
_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68
_CHECKPOINT_PAGES = (
    4000  # 16 MB: the ends of the agents' logs are written to again and again, so fewer is cheaper
)
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_PATIENCE = 1.0
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

    def make_file(self) -> None:
        """Make an empty file (0600) and its directory (0700) where missing, and refuse what cannot be ours.

        Raises ``StorageConfigError``; nothing of a foreign file is changed.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise StorageConfigError(
                f"SQLite {sqlite3.sqlite_version} is too old, {oldest} is needed: use a Python that brings it"
            )
        try:
            _make_directory(Path(self.path).parent)
            self._make_empty()
            self._recognise()
        except OSError as exc:
            raise StorageConfigError(
                f"{self.path}: {exc.strerror or exc}; name a file in a directory that this user may write to"
            ) from exc

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

    def _make_empty(self) -> None:
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE)
        except FileExistsError:
            return
        os.close(fd)
        _sync_directory(Path(self.path).parent)

    def _recognise(self) -> None:
        """Refuse a file that is no database, or another application's, by its first bytes alone.

        To open a foreign database would already be to write beside it, or to tidy up after its last user.
        """
        path = Path(self.path)
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StorageConfigError(f"{self.path} is not a regular file: name a file")
            header = file.read(100)
        for target in (path, path.parent):
            if not os.access(target, os.R_OK | os.W_OK, effective_ids=_EFFECTIVE):
                raise StorageConfigError(
                    f"{target} is read-only for this user: SQLite must write the database and files beside it; "
                    "change its permissions, or name another file"
                )
        if not header or Path(f"{self.path}-journal").exists():
            return  # new, or left by a crash while it was made: SQLite knows how to go on
        if not header.startswith(_MAGIC):
            raise StorageConfigError(
                f"{self.path} is not an SQLite database; nothing was written to it: name another file"
            )
        application = int.from_bytes(header[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4], "big")
        if application != APPLICATION_ID and (application or not self._is_empty()):
            raise foreign(self.path)

    def _is_empty(self) -> bool:
        """Whether the database has no tables, found out without locks or other files."""
        uri = f"file:{quote(os.fsencode(self.path))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            try:
                return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            except sqlite3.DatabaseError:
                return False


def journal_mode(connection: sqlite3.Connection) -> str:
    """The journal mode of the database: ``wal``, or one without write-ahead log."""
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return str(mode, "ascii") if isinstance(mode, bytes) else str(mode)


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
