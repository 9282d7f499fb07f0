"""Forks: no SQLite connection may be open while the process forks.

SQLite remembers in memory which locks this process holds. A child inherits that memory, but not the locks: a
connection that it opens to the same file then believes to be protected where it is not, and the parent, when
it closes, deletes the write-ahead log under the child. So connections are closed before a fork and opened
again, by the parent, at their next job; the child begins with none.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

_PATIENCE = 10.0


class Suspendable(Protocol):
    """A connection that can be closed for the time of a fork."""

    def suspend(self, patience: float) -> bool:
        """Close it and let nobody open it; whether that was possible within about twice the patience."""

    def resume(self) -> None:
        """Undo ``suspend``."""


_connections: weakref.WeakSet[Suspendable] = weakref.WeakSet()
_suspended: list[Suspendable] = []
_inherited: list[Suspendable] = []
"""In a child: what could not be closed before the fork. Closing it here would harm the parent, so it is kept."""

_lock = threading.Lock()


def track(connection: Suspendable) -> None:
    """Close this connection for the time of every fork, as long as it lives."""
    with _lock:
        _connections.add(connection)


def _before() -> None:
    _lock.acquire()
    _suspended.extend(connection for connection in list(_connections) if connection.suspend(_PATIENCE))


def _after_in_parent() -> None:
    for connection in _suspended:
        connection.resume()
    _suspended.clear()
    _lock.release()


def _after_in_child() -> None:
    global _lock, _connections  # noqa: PLW0603 - the child begins anew
    _inherited.extend(connection for connection in list(_connections) if connection not in _suspended)
    _lock = threading.Lock()
    _connections = weakref.WeakSet()
    _suspended.clear()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
