"""Connections: a pool for reads and writes, without a reset round trip, and single ones."""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import asyncpg

from oacp_storage_core import StorageConfigError
from oacp_storage_engine import NotApplied
from oacp_storage_postgres.dropping import drop, keep_untouched
from oacp_storage_postgres.errors import DRIVER_ERRORS, POOLER, connecting, executing, is_read_only
from oacp_storage_postgres.pool import Pool
from oacp_storage_postgres.uninterrupted import uninterrupted

T = TypeVar("T")

_IDLE_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_LONGER = 1.0  # seconds that the server goes on with a statement after its caller has given it up
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, seconds, times
_READ_SHARE = (
    0.9  # of the time of a call, for a read to wait for a connection: so that it can tell what it waited for
)


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """One whose cancelled statements cost it the connection.

    asyncpg asks the server to cancel them, in a task and over a connection of its own, which nobody waits for: they
    outlive the storage and its loop. A statement of ours ends soon by itself.
    """

    def _cancel_current_command(self, *_waiters: object) -> None:
        self._loop.call_soon(self.terminate)


class Connections:
    """The connections of one engine: ``kept`` in the pool, ``extra`` more under load, of which those that were idle for
    ``idle_seconds`` are closed. ``settings`` are those of asyncpg's ``connect``, ``place`` is where they lead, as it
    may be shown.

    The server ends a statement that goes on for longer than ``timeout`` seconds, the time of a call, and a moment:
    nobody waits for it any more, and its connection is not counted. Behind a pooler in transaction mode
    (``pgbouncer``) no statement is kept prepared, and each is sent in a transaction, because only that keeps its parts
    on one server connection.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        place: str,
        kept: int,
        extra: int,
        timeout: float,
        pgbouncer: bool,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._settings = {**settings, "connection_class": _Connection}
        longest = f"{(timeout + _LONGER) * 1000:.0f}ms"
        self._begin = f"BEGIN; SET LOCAL statement_timeout = '{longest}'" if pgbouncer else None
        if pgbouncer:
            self._settings["statement_cache_size"] = 0
        elif "statement_timeout=" not in settings.get("dsn", ""):  # what is in it, asyncpg overrides
            given = settings.get("server_settings", {})
            self._settings["server_settings"] = {"statement_timeout": longest, **given}
        self._place = place
        self._kept = kept
        self._extra = extra
        self._idle_seconds = idle_seconds
        self.timeout = timeout
        self._pool: Pool | None = None
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pid = os.getpid()

    async def open(self) -> None:
        """Make the pool, and its first connection at once, so that a wrong password is seen here."""
        self.make_pool()
        async with self.reading() as connection:
            behind = await connection.fetchval("SELECT pg_backend_pid()")
            if behind != connection.get_server_pid() and self._begin is None:
                raise StorageConfigError(POOLER)

    def make_pool(self) -> None:
        """Make the pool without connecting."""
        self._pool = Pool(
            self.connect,
            kept=self._kept,
            extra=self._extra,
            idle_seconds=self._idle_seconds,
            patience=self.timeout * _READ_SHARE,
        )

    async def connect(self) -> Any:
        """A connection outside the pool; whoever asks closes it."""
        try:
            connection = await uninterrupted(
                asyncpg.connect(**self._settings), _Connection.terminate, "oacp-storage connect"
            )
        except (ValueError, asyncpg.ClientConfigurationError) as exc:
            raise connecting(exc, self._place) from None  # it may show a piece of the connection string
        except DRIVER_ERRORS as exc:
            raise connecting(exc, self._place) from exc
        self._made.add(connection)
        _keep_alive(connection)
        return connection

    def reading(self) -> Use:
        """A connection for reads; whatever fails in the block changed nothing."""
        return Use(self._present_pool(), self._begin, None)

    async def write(self, deadline: float, statement: str, *arguments: Any) -> Any:
        """The value that one statement returns, which writes and is sent as a whole; after a lost reply the outcome is
        unknown.
        """
        if self._begin is None:
            async with Use(self._present_pool(), None, deadline) as connection:
                left = deadline - asyncio.get_running_loop().time()
                return await connection.fetchval(statement, *arguments, timeout=left)
        return await self.write_in_steps(
            deadline, lambda connection: connection.fetchval(statement, *arguments)
        )

    async def write_in_steps(self, deadline: float, steps: Callable[[Any], Awaitable[T]]) -> T:
        """What several statements give, which write in one transaction; else as ``write``."""
        use = Use(self._present_pool(), self._begin or "BEGIN", deadline)
        try:
            async with asyncio.timeout_at(deadline), use as connection:
                return await steps(connection)
        except TimeoutError as exc:
            raise executing(exc, maybe_applied=True) from exc

    async def close(self) -> None:
        """Close the pool, within a moment, or drop it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except DRIVER_ERRORS:
                for connection in list(self._made):
                    connection.terminate()

    def abandon(self) -> None:
        """Drop all connections without awaiting anything."""
        pool, self._pool = self._pool, None
        if self._pid != os.getpid():
            keep_untouched((pool, list(self._made)))
            return
        for connection in list(self._made):
            drop(connection)

    def _present_pool(self) -> Pool:
        if self._pool is None:
            raise NotApplied("the connections were closed meanwhile")
        return self._pool


class Use:
    """One use of a connection, for ``async with``: a read without a ``deadline``, or a write until then.

    What the driver raises in the block becomes the engine's error. A connection of which nobody knows what it is in
    the middle of is closed.
    """

    __slots__ = ("_begin", "_connection", "_deadline", "_pool")

    def __init__(self, pool: Pool, begin: str | None, deadline: float | None) -> None:
        self._pool = pool
        self._begin = begin
        self._deadline = deadline
        self._connection: Any = None

    async def __aenter__(self) -> Any:
        reading = self._deadline is None
        connection = self._pool.take(reading=reading)
        if connection is None:
            connection = await self._pool.wait(reading=reading, deadline=self._deadline)
        self._connection = connection
        if self._begin is not None:
            try:
                await connection.execute(self._begin)
            except BaseException as exc:
                self._end(exc)
                if isinstance(exc, DRIVER_ERRORS):
                    raise executing(exc, maybe_applied=False) from exc
                raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        last = exc
        if self._begin is not None and _is_answered(exc):
            try:
                await self._connection.execute("COMMIT" if exc is None else "ROLLBACK")
            except BaseException as failure:  # noqa: BLE001 - raised below, where it matters
                last = failure
        self._end(last)
        first = last if exc is None else exc
        if isinstance(first, DRIVER_ERRORS):
            raise executing(first, maybe_applied=self._deadline is not None) from first
        if last is not None and last is not exc and not isinstance(last, DRIVER_ERRORS):
            raise last

    def _end(self, exc: BaseException | None) -> None:
        if not _is_answered(exc):
            self._connection.terminate()
        self._pool.give_back(self._connection, reading=self._deadline is None)


def _is_answered(exc: BaseException | None) -> bool:
    """Whether nothing is under way on the connection after this, so that another use can have it."""
    if isinstance(exc, asyncpg.PostgresError):
        return not is_read_only(
            exc
        )  # the server has become a standby, and will not take the next write either
    return exc is None or (isinstance(exc, Exception) and not isinstance(exc, DRIVER_ERRORS))


def _keep_alive(connection: Any) -> None:
    """Have the system notice when the way to the server is lost, and firewalls that the connection is in use."""
    transport = getattr(connection, "_transport", None)  # asyncpg has no public way
    used = None if transport is None else transport.get_extra_info("socket")
    if used is not None and used.family in {socket.AF_INET, socket.AF_INET6}:
        used.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                used.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
