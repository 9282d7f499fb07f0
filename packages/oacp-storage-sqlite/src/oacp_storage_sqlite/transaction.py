"""Write transactions: begun when it is our turn, ended in one job, never left open."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from oacp_storage_core import StorageConnectionError
from oacp_storage_engine import NotApplied, Rejected
from oacp_storage_sqlite.database import Settings
from oacp_storage_sqlite.faults import in_doubt, is_busy, is_io_error, leaves_doubt, translate
from oacp_storage_sqlite.schema import Schema
from oacp_storage_sqlite.turns import Turn, pause

T = TypeVar("T")


class Transactions:
    """Runs write transactions on the writer's connection, in its thread.

    ``discard`` drops that connection after an error that leaves its state in doubt. ``changed`` is called
    within a transaction when somebody else has written since the last one, or the connection is a new one.
    """

    def __init__(
        self,
        settings: Settings,
        schema: Schema,
        turn: Turn,
        *,
        discard: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._schema = schema
        self._turn = turn
        self._discard = discard
        self._changed = changed
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._seen = 0

    def run(
        self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], deadline: float
    ) -> T:
        """``work(connection)`` between BEGIN and COMMIT; durable when it returns.

        ``deadline`` is a time of ``time.monotonic``. Raises ``NotApplied`` when the database was locked until
        then, ``OutcomeUnknownError`` when the disk failed at the end of the commit, ``Rejected`` for numbers that
        SQLite does not hold, and other ``StorageError``s, when nothing was written.
        """
        if time.monotonic() >= deadline:
            raise NotApplied(
                "other writes of this process took the whole time; raise timeout=, or write less"
            )
        with Translated(self._settings.path):
            self._turn.take(deadline)
            try:
                self._begin(connection, deadline)
                try:
                    self._look_around(connection)
                    result = work(connection)
                except BaseException:
                    self._roll_back(connection)
                    raise
                self._commit(connection, deadline)
            finally:
                self._turn.give()
        return result

    def _begin(self, connection: sqlite3.Connection, deadline: float) -> None:
        retry(lambda: connection.execute("BEGIN IMMEDIATE"), deadline)

    def _commit(self, connection: sqlite3.Connection, deadline: float) -> None:
        try:
            retry(lambda: connection.execute("COMMIT"), deadline)
        except BaseException as exc:
            self._roll_back(connection)
            if isinstance(exc, sqlite3.Error) and is_io_error(exc):
                self._discard()  # with a new connection everything is read anew
                if leaves_doubt(exc):
                    raise in_doubt(exc, self._settings.path) from exc
            raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self._connection = None  # what was remembered of the store may be wrong now
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._discard()  # closing rolls back

    def _look_around(self, connection: sqlite3.Connection) -> None:
        """Is this still our database, and of our schema? Ask the store only when somebody else wrote to it."""
        identity = self._settings.identity()
        seen = connection.execute("PRAGMA data_version").fetchone()[0]
        if connection is self._connection and seen == self._seen and identity == self._identity:
            return
        if connection is self._connection and identity != self._identity:
            raise StorageConnectionError(
                f"{self._settings.path}: another file has taken the place of the database while it was open; "
                "nothing was written: open the storage again to use that one"
            )
        self._schema.check(connection, self._settings.path)
        self._changed()
        self._connection, self._identity, self._seen = connection, identity, seen


class Translated:
    """A context in which what sqlite3 raises becomes a ``StorageError`` about the database at ``path``."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if isinstance(exc, sqlite3.Error):
            raise translate(exc, self._path) from exc
        if isinstance(exc, OverflowError):
            raise Rejected(
                f"{self._path}: a sequence, version or time is larger than SQLite's integers of 64 bits"
            ) from exc


def retry(attempt: Callable[[], T], deadline: float) -> T:
    """``attempt()``, again while another connection is in the way, until the deadline has passed."""
    begun = time.monotonic()
    while True:
        try:
            return attempt()
        except sqlite3.Error as exc:
            now = time.monotonic()
            if not is_busy(exc) or now >= deadline:
                raise
        pause(now - begun)
