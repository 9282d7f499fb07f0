"""From what a primitive raised to what a caller gets: never a driver's exception, never one that others hold too."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from oacp_storage_core import StorageClosedError, StorageConnectionError, StorageError, StorageUsageError
from oacp_storage_engine.primitives import NotApplied, Rejected, Unknown

E = TypeVar("E", bound=StorageError)


def own_copy(error: E) -> E:
    """The same error for one more caller, so that tracebacks do not grow into each other."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


@contextmanager
def made_public(doing: str) -> Iterator[None]:
    """Turns what primitives raise inside into what a caller may see. ``doing`` begins the message."""
    try:
        yield
    except (NotApplied, Unknown, Rejected) as exc:
        raise public(exc, doing) from exc
    except StorageError:
        raise
    except Exception as exc:
        raise public(exc, doing) from exc


def public(error: Exception, doing: str) -> StorageError:
    """The error for callers in place of one that only primitives may raise. ``doing`` begins the message."""
    if isinstance(error, NotApplied | Unknown):
        return StorageConnectionError(f"{doing}: {error}")
    if isinstance(error, Rejected):
        return StorageError(f"{doing} was refused by the store: {error}")
    # The text of a driver's exception may hold anything, a password too.
    return StorageError(f"{doing} ended in {type(error).__name__}; the cause tells more")


def closed() -> StorageClosedError:
    """The storage was used after ``close()``."""
    return StorageClosedError("the storage is closed; open a new one to go on")


def taken_over() -> StorageUsageError:
    """The loop of a call was paused, and another one began to use the storage meanwhile."""
    return StorageUsageError(
        "another event loop took the storage over while this one was paused; nothing was changed: give each "
        "loop a storage of its own"
    )


def two_loops() -> StorageUsageError:
    """The storage was used from two running loops at once."""
    return StorageUsageError(
        "the storage is in use by another event loop that is still running (another thread?); give each loop "
        "a storage of its own, or use SyncStorage, which may be shared by threads"
    )
