"""The id database of one agent: which sequence has which id, for the older part of a long log.

It is derived from the log and may be deleted at any time. Ids are kept as 64-bit hashes, so that what is found
is a candidate whose record must be looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from oacp_storage_file.disk import FILE_MODE

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ids (hash INTEGER NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (hash, sequence))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS covered (one INTEGER PRIMARY KEY CHECK (one = 1), sequence INTEGER NOT NULL,
    crc INTEGER NOT NULL);
"""
_FEW = 500


class IdsDatabase:
    """An open database; only who holds the commit lock uses it. Errors are ``sqlite3.Error``."""

    def __init__(self, path: str) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.executescript(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def covered(self) -> tuple[int, int]:
        """The sequence up to which the log is indexed, and the checksum of the record there; zeros for none."""
        row = self._connection.execute("SELECT sequence, crc FROM covered").fetchone()
        return (row[0], row[1]) if row else (0, 0)

    def add(self, ids: Iterable[tuple[str, int]], sequence: int, crc: int) -> None:
        """Add ids with their sequences; the log is then indexed up to ``sequence``, whose record has ``crc``."""
        rows = sorted((_hash(one), number) for one, number in ids)
        with self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", rows)
            self._connection.execute("INSERT OR REPLACE INTO covered VALUES (1, ?, ?)", (sequence, crc))

    def candidates(self, ids: Sequence[str]) -> list[int]:
        """Sequences that may have one of these ids."""
        found: list[int] = []
        for start in range(0, len(ids), _FEW):
            hashes = [_hash(one) for one in ids[start : start + _FEW]]
            marks = ",".join("?" * len(hashes))
            rows = self._connection.execute(
                f"SELECT sequence FROM ids WHERE hash IN ({marks})",  # noqa: S608 - question marks only
                hashes,
            )
            found += [sequence for (sequence,) in rows]
        return found

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def remove_database(path: str) -> None:
    """Remove a database and what SQLite keeps beside it."""
    for name in (path, f"{path}-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _hash(one: str) -> int:
    return int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest(), "big", signed=True)
