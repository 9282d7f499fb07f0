"""From what the driver raises and the server answers to what the engine may raise.

No text of the driver about connecting is repeated: it may show where, but never with which password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from redis import exceptions as driver

from oacp_storage_core import (
    CorruptDataError,
    SchemaVersionError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
)
from oacp_storage_engine import NotApplied

_CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)

_IN_SCRIPT = re.compile(
    r"@user_script: ?\d+: -?([A-Z]+) "
)  # how Redis 6 reports what a script's command answered

_FINAL_WORDS: dict[str, tuple[type[StorageError], str]] = {
    "NOAUTH": (
        StorageConnectionError,
        "the server asks for a password: put it into the URL, or give password=",
    ),
    "WRONGPASS": (StorageConnectionError, "the server refuses the password: check username and password"),
    "NOPERM": (
        StorageConfigError,
        "the user lacks a permission: it needs those that the README of oacp-storage-redis lists",
    ),
    "DENIED": (
        StorageConnectionError,
        "the server is in protected mode and takes connections from its own machine only: give it a password",
    ),
    "OOM": (
        StorageError,
        "the server is out of memory, and nothing was changed: raise maxmemory, or delete something",
    ),
    "OACPSTALE": (StorageError, "a later write under the same receipt was applied already"),
}

_RETRY_WORDS = {
    "ASK": "the server is moving this data to another node",
    "BUSY": "the server is busy with a script",
    "CLUSTERDOWN": "the cluster is down",
    "LOADING": "the server is loading its data into memory",
    "MASTERDOWN": "the replica has lost its master",
    "MISCONF": "the server cannot write to its disk; see its log",
    "MOVED": "the data has moved to another node of the cluster",
    "NOREPLICAS": "the server has fewer replicas than min-replicas-to-write asks for",
    "NOSCRIPT": "the server has lost its scripts",
    "READONLY": "the server is a replica and takes no writes: connect to the master, or to the sentinels",
    "TRYAGAIN": "the server is moving this data to another node",
}

MOVED = frozenset({"MOVED", "CLUSTERDOWN", "ASK", "TRYAGAIN", "READONLY", "MASTERDOWN"})
"""Answers after which it is worth looking up anew who serves what."""

_CODES: list[tuple[type[Exception], str]] = [
    (driver.MovedError, "MOVED"),  # before AskError, which it derives from
    (driver.AskError, "ASK"),
    (driver.TryAgainError, "TRYAGAIN"),
    (driver.ClusterDownError, "CLUSTERDOWN"),
    (driver.MasterDownError, "MASTERDOWN"),
    (driver.BusyLoadingError, "LOADING"),
    (driver.NoScriptError, "NOSCRIPT"),
    (driver.ReadOnlyError, "READONLY"),
    (driver.OutOfMemoryError, "OOM"),
    (driver.NoPermissionError, "NOPERM"),
]


def code_of(answer: Exception) -> str:
    """The word by which the server names an error; the driver takes it off some of them."""
    for kind, code in _CODES:
        if isinstance(answer, kind):
            return code
    text = str(answer)
    if isinstance(answer, driver.AuthenticationError):
        return "NOAUTH" if "required" in text else "WRONGPASS"
    inside = _IN_SCRIPT.search(text)
    return inside[1] if inside else text.partition(" ")[0]


def answered(answer: Exception) -> StorageError:
    """The error for an answer of the server that is one. It has changed nothing."""
    code, text = code_of(answer), str(answer)
    if code == "OACPSCHEMA":
        return SchemaVersionError(
            f"the store has got schema version {text.split()[1]} meanwhile, which this release does not know: "
            "restart with the release that upgraded it"
        )
    if code == "OACPDAMAGE":
        _, head, agent = text.split(" ", 2)
        return CorruptDataError(
            f"the log of agent {agent!r} has entries after its last sequence, {head}: something else than "
            "oacp-storage wrote to it; nothing was changed",
            agent_id=agent,
        )
    if code in _FINAL_WORDS:
        kind, message = _FINAL_WORDS[code]
        return kind(message)
    if code in _RETRY_WORDS:
        return NotApplied(_RETRY_WORDS[code])
    if "non local key" in text or "max number of clients" in text:
        return NotApplied(f"Redis asks to try again: {text}")
    return StorageError(f"Redis reports: {text}")


def connecting(exc: BaseException, address: str) -> StorageError:
    """The error for a connection that could not be made; nothing was sent."""
    code = code_of(exc) if isinstance(exc, driver.RedisError) else ""
    if code in _FINAL_WORDS or code in _RETRY_WORDS:
        return answered(exc)  # type: ignore[arg-type]  # RedisError is an Exception
    text = str(exc)
    if isinstance(exc, driver.ResponseError):
        if "max number of clients" in text:
            return NotApplied(f"Redis at {address} has its maximum number of clients: raise maxclients")
        return StorageConnectionError(f"Redis at {address} refuses the connection: {text}")
    if "max number of clients" in text:
        return NotApplied(f"Redis at {address} has its maximum number of clients: raise maxclients")
    causes = list(_causes(exc))
    for cause in causes:
        if type(cause).__module__ == "ssl":
            return StorageConnectionError(
                f"Redis at {address} cannot be reached over TLS ({type(cause).__name__}): check that it speaks TLS "
                "there, and the certificates (ssl_ca_certs=)"
            )
    if "closed by server" in text or any(isinstance(cause, _CLOSED) for cause in causes):
        return NotApplied(
            f"Redis at {address} closes new connections: check that this is its port, whether it speaks TLS there "
            "(rediss://), and whether it asks for a certificate (ssl_certfile=)"
        )
    if isinstance(exc, TimeoutError | driver.TimeoutError):
        return NotApplied(f"Redis at {address} does not answer: check host and port, and that it runs")
    return NotApplied(f"Redis at {address} cannot be reached: check host and port, and that it runs")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
