"""From asyncpg's exceptions to what the engine may raise."""

from __future__ import annotations

import inspect
import re
import ssl

import asyncpg

from oacp_storage_core import (
    CorruptDataError,
    SchemaVersionError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
)
from oacp_storage_core.near_miss import did_you_mean
from oacp_storage_engine import NotApplied, Rejected, Unknown

DRIVER_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Everything that asyncpg raises when a statement or connection fails."""

POOLER = (
    "the connection goes through a pooler such as PgBouncer: set pgbouncer=True, so that no prepared statements are "
    "kept and nothing relies on one connection (or connect to the server itself)"
)


OUR_SETTINGS = ("statement_timeout", "application_name")
DRIVER_OPTIONS = (
    "dbname", "gsslib", "krbsrvname", "passfile", "service", "servicefile", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation", "sslpassword",
    "sslrootcert", "target_session_attrs",
)  # fmt: skip
"""What asyncpg takes from the query of a URL, besides what are options of ours; all else is a setting of the server."""
_UNKNOWN_SETTING = re.compile(
    r'(?:unrecognized configuration|unsupported startup) parameter:? "?(?P<name>[\w.-]+)"?'
)


class AppliedBefore(NotApplied):
    """The attempt was applied already, so this sending of it was not: its receipt has the outcome."""


class MissingPartition(NotApplied):
    """Nothing was written, because no partition takes commits of this month."""


_SCHEMA_CHANGED = "OA001"
_MISSING_PARTITION = "23514"
_FINAL_AT_CONNECT = {
    "28000": "the server refuses this user: check user, database, TLS and pg_hba.conf",
    "28P01": "the server refuses the password: check user and password",
    "3D000": "there is no such database on the server: create it, or check the name",
    "42501": "the user lacks a privilege: the README of oacp-storage-postgres has the grants that a role needs",
}
_RETRY = {
    "25006",  # read_only_sql_transaction: it has become a standby
    "25P03",  # idle_in_transaction_session_timeout: we stopped before the commit
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "53300",  # too_many_connections
    "55P03",  # lock_not_available
    "57014",  # query_canceled
    "57P03",  # cannot_connect_now
}
_LOST = {"57P01", "57P02", "57P05", "08000", "08003", "08006", "08007", "08P01"}
_CONTENT = ("22", "54")


def connecting(exc: BaseException, place: str) -> StorageError:
    """The error for a connection that could not be made; nothing was sent. No text of the driver is repeated that
    may show a piece of a malformed connection string.
    """
    state = getattr(exc, "sqlstate", None)
    where = f"PostgreSQL at {place}"
    if state in _FINAL_AT_CONNECT:
        return StorageConnectionError(f"{where}: {_FINAL_AT_CONNECT[state]}")
    if state == "53300":
        return NotApplied(f"{where} has no connection left: raise max_connections, or lower pool_size")
    if state == "57P03":
        return NotApplied(f"{where} is starting or stopping")
    if isinstance(exc, asyncpg.PostgresError) and (unknown := _UNKNOWN_SETTING.search(str(exc))):
        return _unknown_setting(unknown["name"], where)
    if isinstance(exc, asyncpg.PostgresError) and state not in _LOST:
        return StorageConnectionError(f"{where} refuses the connection: {exc}")
    if isinstance(exc, asyncpg.ClientConfigurationError) or type(exc) is ValueError:
        return StorageConfigError(
            "PostgreSQL cannot be used with these options: check connection_string (special characters of user and "
            "password must be percent-encoded: / as %2F, @ as %40), ports, and ssl"
        )
    if isinstance(exc, ssl.SSLError):
        return StorageConnectionError(
            f"{where} cannot be reached over TLS ({type(exc).__name__}): check the certificates (sslrootcert, or ssl=)"
        )
    if "SSL" in str(exc):  # the ConnectionError of asyncpg
        return StorageConnectionError(
            f"{where} speaks no TLS: check sslmode or ssl=, or the server's ssl setting"
        )
    if isinstance(exc, TimeoutError):
        return NotApplied(f"{where} does not answer: check host and port, and that it runs")
    return NotApplied(
        f"{where} cannot be reached ({type(exc).__name__}): check host and port, and that it runs"
    )


def _unknown_setting(name: str, where: str) -> StorageError:
    """The error for a setting that the server, or the pooler before it, does not take."""
    from oacp_storage_postgres.storage import (
        PostgreSQLStorage,
    )  # whose options are meant; it imports us only at work

    if name in OUR_SETTINGS:
        return StorageConfigError(POOLER)
    options = [
        name for name in inspect.signature(PostgreSQLStorage).parameters if name != "connection_string"
    ]
    return StorageConfigError(
        f"{where} knows no setting {name!r}, nor is it an option of PostgreSQLStorage or asyncpg"
        f"{did_you_mean(name, [*options, *DRIVER_OPTIONS])}; the options are {', '.join(sorted(options))}, "
        f"and asyncpg's in a URL {', '.join(DRIVER_OPTIONS)}"
    )


def executing(exc: BaseException, *, maybe_applied: bool) -> StorageError:
    """The error for a statement that failed. ``maybe_applied``: it would have taken effect if its reply was lost."""
    if isinstance(exc, StorageError):
        return exc
    state = getattr(exc, "sqlstate", None)
    if isinstance(exc, asyncpg.DuplicatePreparedStatementError | asyncpg.InvalidSQLStatementNameError):
        return StorageConfigError(POOLER)
    if state == _SCHEMA_CHANGED:
        return SchemaVersionError(
            "the store's schema version is no longer the one this release works with: restart with the release "
            "that upgraded it"
        )
    if isinstance(exc, asyncpg.UniqueViolationError) and exc.constraint_name == "receipts_pkey":
        return AppliedBefore("the attempt was applied already")
    if isinstance(exc, asyncpg.UniqueViolationError) and (exc.table_name or "").startswith("interactions"):
        # The lock of the agent's row makes two writers of one sequence impossible.
        return CorruptDataError(
            "an agent's row in oacp.agents is older than its log: its head must be raised to the agent's last sequence "
            "in oacp.interactions"
        )
    if state in _RETRY or isinstance(exc, asyncpg.UniqueViolationError | asyncpg.InvalidCachedStatementError):
        return NotApplied(f"PostgreSQL asks to try again: {exc}")
    if state == _MISSING_PARTITION:
        return MissingPartition("there is no partition for this month yet")
    if state in _LOST or not isinstance(exc, asyncpg.PostgresError):
        lost = f"the connection to PostgreSQL was lost: {str(exc) or type(exc).__name__}"
        return Unknown(lost) if maybe_applied else NotApplied(lost)
    if state is not None and state[:2] in _CONTENT:
        return Rejected(f"PostgreSQL refuses the content: {exc}")
    if state == "42501":
        return StorageConfigError(_FINAL_AT_CONNECT[state])
    if state in {"42P01", "3F000", "42883"}:
        return StorageConfigError(
            "the tables of oacp-storage are missing: let their owner run "
            "`python -m oacp_storage_postgres schema URL` first"
        )
    return StorageError(f"PostgreSQL reports: {exc}")


def is_read_only(exc: asyncpg.PostgresError) -> bool:
    """Whether the server takes no writes: it is a standby, perhaps since a moment ago."""
    return bool(exc.sqlstate == "25006")
