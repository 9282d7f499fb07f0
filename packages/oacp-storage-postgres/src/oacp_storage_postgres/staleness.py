"""Reads that may be a little old, where the caller says so: they may go to a replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_allowed: ContextVar[bool] = ContextVar("oacp_storage_postgres_stale_reads", default=False)


@contextmanager
def stale_reads() -> Iterator[None]:
    """Inside the block, reads of history and of lists may come from ``read_connection_string``.

    A single document never does, because compare-and-set builds on what was read. A replica is behind by as much as it
    takes to copy what was committed: a read may miss what was acknowledged a moment before. Not affected are writes and
    what they read, ``verify``, ``watch_interactions``, and reads outside the block, in other tasks too. Where no
    ``read_connection_string`` is given, or the replica cannot be reached, the reads go to the server as always.
    """
    with _stale(True):
        yield


def stale_reads_allowed() -> bool:
    """Whether the present task is inside such a block."""
    return _allowed.get()


def reads_freshly(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The method as it is, except that what it reads is up to date inside ``stale_reads`` too."""

    @wraps(call)
    async def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        with _stale(False):
            return await call(*args, **kwargs)

    return reading


class FreshIterator(AsyncIterator[T]):
    """The iterator as it is, except that what it reads is up to date inside ``stale_reads`` too."""

    def __init__(self, iterator: AsyncIterator[T]) -> None:
        self._iterator = iterator

    async def __anext__(self) -> T:
        with _stale(False):
            return await anext(self._iterator)


@contextmanager
def _stale(allowed: bool) -> Iterator[None]:
    before = _allowed.set(allowed)
    try:
        yield
    finally:
        with suppress(
            ValueError
        ):  # the loop has ended, and the garbage collector closes the call in another context
            _allowed.reset(before)
