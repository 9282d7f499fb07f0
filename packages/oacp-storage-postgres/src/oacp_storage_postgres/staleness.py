"""Reads that may be a little old, where the caller says so: they may go to a replica."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_allowed: ContextVar[bool] = ContextVar("oacp_storage_postgres_stale_reads", default=False)


@contextmanager
def stale_reads() -> Iterator[None]:
    """Inside the block, reads of history and of lists may come from ``read_connection_string``.

    A single document never does, because compare-and-set builds on what was read. A replica is behind by as much as it
    takes to copy what was committed: a read may miss what was acknowledged a moment before. Writes are not affected,
    nor are reads outside the block, in other tasks too. Where no ``read_connection_string`` is given, or the replica
    does not answer, the reads go to the server as always.
    """
    before = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(before)


def stale_reads_allowed() -> bool:
    """Whether the present task is inside such a block."""
    return _allowed.get()
