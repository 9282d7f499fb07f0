"""Opening: many processes may do it at once, to a file that is not there yet, or of an older release."""

from __future__ import annotations

import sqlite3
import time

from oacp_storage_core import StorageConfigError
from oacp_storage_sqlite.database import Settings, journal_mode
from oacp_storage_sqlite.faults import is_busy
from oacp_storage_sqlite.schema import APPLICATION_ID, INCREMENTAL, Schema, pragma, version_of
from oacp_storage_sqlite.transaction import Translated, retry
from oacp_storage_sqlite.turns import Turn

_SWITCH_SECONDS = 2.0


def open_database(settings: Settings, schema: Schema, turn: Turn, deadline: float) -> sqlite3.Connection:
    """The writer's connection to the database, which is made or upgraded where it has to be.

    ``deadline`` is a time of ``time.monotonic``. Raises ``StorageConfigError`` for a file that is not ours or
    cannot be written, ``SchemaVersionError`` for a newer one, ``NotApplied`` when it was locked until then.
    """
    settings.recognise()

    def prepare(connection: sqlite3.Connection) -> None:
        _bring_up(connection, settings, schema)
        _switch_journal(connection, settings)

    turn.take(deadline)
    try:
        settings.make_empty()
        with Translated(settings.path):
            return retry(lambda: settings.connect_writer(prepare), deadline)
    finally:
        turn.give()


def _bring_up(connection: sqlite3.Connection, settings: Settings, schema: Schema) -> None:
    """Create or upgrade, in one transaction; one that is as it should be is only looked at."""
    if version_of(connection) == schema.version and pragma(connection, "application_id") == APPLICATION_ID:
        return
    if not pragma(connection, "page_count"):
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL if settings.auto_vacuum else 0}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema.bring_up(connection, settings.path)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _switch_journal(connection: sqlite3.Connection, settings: Settings) -> None:
    """Switch to the journal mode that was asked for, unless others have the database open in another one.

    Where that is not possible the present mode serves as well, only slower; ``health()`` warns of it.
    """
    wanted = "wal" if settings.wal else "delete"
    present = journal_mode(connection)
    if present == wanted or (not settings.wal and present != "wal"):
        return
    try:
        retry(
            lambda: connection.execute(f"PRAGMA journal_mode = {wanted}").fetchall(),
            time.monotonic() + _SWITCH_SECONDS,
        )
    except sqlite3.OperationalError as exc:
        if not is_busy(exc):
            raise StorageConfigError(
                f"{settings.path}: the journal mode {wanted} cannot be set ({exc}); set enable_wal_mode=False if "
                "the file system does not allow a write-ahead log"
            ) from exc
