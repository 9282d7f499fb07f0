"""From what the driver raises and the server answers to what the engine may raise.

No text of the driver about connecting is repeated: it may show where, but never with which password.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pymongo import errors as driver

from oacp_storage_core import (
    StorageConfigError,
    StorageConnectionError,
    StorageError,
)
from oacp_storage_engine import NotApplied, Rejected, Unknown

DUPLICATE_KEY = 11000
INVALID_DOCUMENT = 121  # refused by a validator: the schema version is another one
WRITE_CONFLICT = 112

_AUTHENTICATION_FAILED = 18
_UNAUTHORIZED = 13
_TOO_LARGE = {
    10334,
    17419,
    17420,
    257,
    313,
}  # BSONObjectTooLarge, of updates, TransactionTooLarge and ...ForCache
_OUT_OF_DISK = 14031

_AGAIN = {
    6: "a host was unreachable",
    7: "a host was not found",
    43: "a cursor was lost",
    50: "the server took too long",
    64: "too few members confirmed the write in time",
    89: "the network between the servers timed out",
    91: "the server is shutting down",
    112: "another writer was faster",
    134: "the server has no majority to read from",
    136: "a cursor fell behind",
    175: "a query was stopped by a change of the collection",
    189: "the primary stepped down",
    202: "the server ran out of time",
    237: "a cursor was lost",
    239: "a snapshot was too old",
    246: "there is no snapshot yet",
    251: "a transaction was ended by the server",
    262: "the server ran out of time",
    290: "a transaction was ended by the server",
    9001: "the server lost a connection",
    10107: "the server is no primary",
    11600: "the server is shutting down",
    11602: "the primary stepped down",
    13388: "the layout of the cluster changed",
    13435: "the server is no primary",
    13436: "the server is no primary",
}
"""Codes after which it is worth trying again. The statement has changed nothing, or may be sent again."""

DRIVER_ERRORS = (driver.PyMongoError, driver.DocumentTooLarge, OSError)


def label(exc: BaseException, name: str) -> bool:
    """Whether the driver or the server gave the error this label."""
    return isinstance(exc, driver.PyMongoError) and exc.has_error_label(name)


def code_of(exc: BaseException) -> int | None:
    """The server's code of an error; for one of a bulk of writes that of the first write that failed."""
    if isinstance(exc, driver.BulkWriteError):
        failed: list[dict[str, Any]] = (exc.details or {}).get("writeErrors", [])
        return failed[0].get("code") if failed else None
    return exc.code if isinstance(exc, driver.OperationFailure) else None


def surely_unsent(exc: BaseException) -> bool:
    """Whether nothing of a call can have reached a server."""
    if isinstance(exc, driver.ServerSelectionTimeoutError | driver.WaitQueueTimeoutError):
        return True
    if isinstance(exc, driver.InvalidOperation | driver.ConfigurationError):
        return True
    return any(isinstance(one, ConnectionRefusedError) for one in _chain(exc))


def writing(exc: BaseException) -> StorageError:
    """The error for a write outside of a transaction, which may have happened if its answer was lost."""
    error = reading(exc)
    if isinstance(error, NotApplied) and not surely_unsent(exc):
        return Unknown(str(error))
    return error


def surely_written(exc: driver.BulkWriteError) -> int:
    """How many documents of an ordered bulk are there and confirmed, the next one being refused.

    Raises ``Unknown`` where that is not definite: what was written may be lost again, or may not.
    """
    details = exc.details or {}
    refused = code_of(exc)
    if details.get("writeConcernErrors") or refused is None or refused in _AGAIN:
        raise Unknown(str(reading(exc))) from exc
    return int(details["nInserted"])


def reading(exc: BaseException) -> StorageError:
    """The error for what changed nothing: a read, or what was sent in a transaction that is not committed."""
    if isinstance(exc, StorageError):
        return exc
    if isinstance(exc, driver.WaitQueueTimeoutError):
        return NotApplied("all connections to MongoDB were busy: raise pool_size, or ask for less at once")
    if isinstance(exc, driver.ServerSelectionTimeoutError):
        return connecting(exc)
    if isinstance(exc, driver.DocumentTooLarge):
        return Rejected("MongoDB takes no document that large")
    if isinstance(exc, driver.WriteConcernError):
        return NotApplied("too few members of the replica set confirmed the write in time")
    if isinstance(exc, driver.NotPrimaryError):
        return NotApplied("the server is no primary any more")
    if isinstance(exc, driver.OperationFailure):  # BulkWriteError is one
        return _answered(exc)
    if isinstance(exc, driver.InvalidOperation):
        return NotApplied("the client was closed meanwhile")
    if isinstance(exc, OSError | driver.ConnectionFailure):
        if any(_is_tls(one) for one in _chain(exc)):
            return _no_tls()
        return NotApplied("the connection to MongoDB was lost, or could not be made")
    if isinstance(exc, driver.ConfigurationError):
        return StorageConfigError("MongoDB's driver refuses its settings; the cause tells more")
    return StorageError(f"MongoDB's driver reports {type(exc).__name__}; the cause tells more")


def connecting(exc: BaseException) -> StorageError:
    """The error where no server was found; nothing was sent."""
    for one in _chain(exc):
        if isinstance(one, driver.OperationFailure) and code_of(one) == _AUTHENTICATION_FAILED:
            return _answered(one)
        if _is_tls(one):
            return _no_tls()
    text = str(exc)  # looked at, and not repeated
    if "SSL" in text or "certificate" in text.lower() or "TLS" in text:
        return _no_tls()
    if "replicaSet" in text or "replica set" in text.lower() or "not a member" in text:
        return NotApplied(
            "no primary of the replica set was found: check that it has one (rs.status()), its name in the URL, and "
            "that its members can be reached under the names they have in rs.conf()"
        )
    return NotApplied("MongoDB cannot be reached: check hosts and ports, and that it runs")


def _no_tls() -> StorageError:
    return StorageConnectionError(
        "MongoDB cannot be reached over TLS: check that it speaks TLS there, and the certificates (tlsCAFile=)"
    )


def _is_tls(exc: BaseException) -> bool:
    return type(exc).__module__ == "ssl" or "SSL handshake failed" in str(exc)


def _answered(exc: driver.OperationFailure) -> StorageError:
    code = code_of(exc)
    if code is None:
        return NotApplied("the server could not confirm a write")
    if code == _AUTHENTICATION_FAILED:
        return StorageConnectionError(
            "MongoDB refuses the user or the password: check both, and the database that the user belongs to "
            "(authSource= in the URL)"
        )
    if code == _UNAUTHORIZED:
        if "requires authentication" in str(exc):
            return StorageConnectionError("MongoDB asks for a user and a password: put them into the URL")
        return StorageConfigError(
            "the user lacks a permission: it needs the role readWrite on the database, as the README of "
            "oacp-storage-mongo says"
        )
    if code in _AGAIN:
        return NotApplied(_AGAIN[code])
    if code in _TOO_LARGE:
        return Rejected("MongoDB takes no document or transaction that large")
    if code == _OUT_OF_DISK:
        return StorageError("the server is out of disk space")
    details = exc.details or {}
    name = details.get("codeName") or "an error"
    return StorageError(f"MongoDB reports {name} (code {code}); the cause tells more")


def _chain(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None and exc not in found and not isinstance(exc, asyncio.CancelledError):
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found
