"""Connections: one pool for reads and writes, without a reset round trip, and single ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from oacp_storage_core import StorageConfigError
from oacp_storage_engine import NotApplied
from oacp_storage_engine.background import start_task
from oacp_storage_postgres.dropping import drop, keep_untouched
from oacp_storage_postgres.errors import DRIVER_ERRORS, POOLER, connecting, executing, is_read_only

_IDLE_SECONDS = 60.0
_KEPT_FOR_WRITES = 3  # one for each lane, and one for deletions
_CLOSE_SECONDS = 5.0


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """One whose cancelled statements cost it the connection.

    asyncpg asks the server to cancel them, in a task and over a connection of its own, which nobody waits for: they
    outlive the storage and its loop. A statement of ours ends soon by itself.
    """

    def _cancel_current_command(self, *_waiters: object) -> None:
        self._loop.call_soon(self.terminate)


class Connections:
    """The connections of one engine: at most ``size`` in the pool. ``settings`` are those of asyncpg's ``connect``.

    Reads never take the last few of them, so that writes do not wait behind reads.

    ``place`` is where they lead, as it may be shown. One that was idle for ``idle_seconds`` is closed. Behind a pooler
    in transaction mode (``pgbouncer``) no statement is kept prepared, and each is sent in a transaction, because only
    that keeps its parts on one server connection.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        place: str,
        size: int,
        pgbouncer: bool,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._settings = {**settings, "connection_class": _Connection}
        if pgbouncer:
            self._settings["statement_cache_size"] = 0
        self._place = place
        self._pgbouncer = pgbouncer
        self._size = size
        self._idle_seconds = idle_seconds
        self._pool: Any = None
        self._readers = asyncio.Semaphore(max(size - _KEPT_FOR_WRITES, 1))
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pid = os.getpid()

    async def open(self) -> None:
        """Make the pool, and its first connection at once, so that a wrong password is seen here."""
        await self.make_pool()
        async with self.reading() as connection:
            behind = await connection.fetchval("SELECT pg_backend_pid()")
            if behind != connection.get_server_pid() and not self._pgbouncer:
                raise StorageConfigError(POOLER)

    async def make_pool(self) -> None:
        """Make the pool without connecting."""
        try:
            self._pool = await asyncpg.create_pool(
                **self._settings,
                min_size=0,
                max_size=self._size,
                max_inactive_connection_lifetime=self._idle_seconds,
                init=self._remember,
                reset=_no_reset,
            )
        except (*DRIVER_ERRORS, ValueError) as exc:
            raise connecting(exc, self._place) from None

    async def connect(self) -> Any:
        """A connection outside the pool; whoever asks closes it."""
        try:
            connection = await _uninterrupted(asyncpg.connect(**self._settings), _terminate)
        except (ValueError, asyncpg.ClientConfigurationError) as exc:
            raise connecting(exc, self._place) from None  # it may show a piece of the connection string
        except DRIVER_ERRORS as exc:
            raise connecting(exc, self._place) from exc
        self._made.add(connection)
        return connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """A connection for reads; whatever fails in the block changed nothing."""
        try:
            async with (
                self._readers,
                self._acquired(None) as connection,
                self._kept_together(connection),
            ):
                yield connection
        except DRIVER_ERRORS as exc:
            raise executing(exc, maybe_applied=False) from exc

    @asynccontextmanager
    async def writing(self, deadline: float) -> AsyncIterator[Any]:
        """A connection for one write that is sent as a whole; a lost reply leaves the outcome unknown."""
        try:
            async with (
                self._acquired(deadline) as connection,
                asyncio.timeout_at(deadline),
                self._kept_together(connection),
            ):
                yield connection
        except DRIVER_ERRORS as exc:
            raise executing(exc, maybe_applied=True) from exc

    async def close(self) -> None:
        """Close the pool, within a moment, or drop it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except DRIVER_ERRORS:
                pool.terminate()

    def abandon(self) -> None:
        """Drop all connections without awaiting anything."""
        pool, self._pool = self._pool, None
        if self._pid != os.getpid():
            keep_untouched((pool, list(self._made)))
            return
        for connection in list(self._made):
            drop(connection)

    async def _remember(self, connection: Any) -> None:
        self._made.add(connection)

    @asynccontextmanager
    async def _kept_together(self, connection: Any) -> AsyncIterator[None]:
        if self._pgbouncer:
            async with connection.transaction():
                yield
        else:
            yield

    @asynccontextmanager
    async def _acquired(self, deadline: float | None) -> AsyncIterator[Any]:
        pool = self._pool
        if pool is None:
            raise NotApplied("the connections were closed meanwhile")
        connection = await self._acquire(pool, deadline)
        sound = False
        try:
            yield connection
            sound = True
        except asyncpg.PostgresError as exc:
            # An answer of the server; but one that is a standby now will not take the next write either.
            sound = not is_read_only(exc)
            raise
        except (asyncio.CancelledError, GeneratorExit, *DRIVER_ERRORS):
            raise
        except Exception:
            sound = True  # ours: what was sent is answered
            raise
        finally:
            if not sound:
                with contextlib.suppress(asyncpg.InterfaceError):  # the pool has given it up already
                    connection.terminate()  # whatever it is in the middle of, nobody shall meet it again
            await pool.release(connection, timeout=_CLOSE_SECONDS)

    async def _acquire(self, pool: Any, deadline: float | None) -> Any:
        full = pool.get_idle_size() == 0 and pool.get_size() >= pool.get_max_size()
        try:
            async with asyncio.timeout_at(deadline):
                if pool.get_idle_size():
                    return await pool.acquire()
                return await _uninterrupted(pool.acquire(), pool.release)
        except TimeoutError as exc:
            if full:
                raise NotApplied(
                    f"all {self._size} connections were in use: raise pool_size or max_overflow"
                ) from exc
            raise connecting(exc, self._place) from exc
        except (ValueError, asyncpg.ClientConfigurationError) as exc:
            raise connecting(exc, self._place) from None  # it may show a piece of the connection string
        except DRIVER_ERRORS as exc:
            raise connecting(exc, self._place) from exc


async def _uninterrupted(
    making: Awaitable[Any], give_back: Callable[[Any], Coroutine[Any, Any, None]]
) -> Any:
    """Await the making of a connection. When the caller is cancelled it goes on, and what it makes is given back.

    asyncpg leaves an exception that nobody retrieves, which the loop complains about, when connecting is cancelled.
    """
    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    start_task(_make(making, made, give_back), "oacp-storage connect")
    try:
        return await made
    except asyncio.CancelledError:
        if not made.cancelled() and made.exception() is None:  # it was made in the very moment
            start_task(give_back(made.result()), "oacp-storage give back a connection")
        raise


async def _make(
    making: Awaitable[Any], made: asyncio.Future[Any], give_back: Callable[[Any], Coroutine[Any, Any, None]]
) -> None:
    try:
        connection = await making
    except Exception as exc:  # noqa: BLE001 - whoever awaits it gets it
        if not made.done():
            made.set_exception(exc)
        return
    except asyncio.CancelledError:
        made.cancel()
        raise
    if made.done():
        await give_back(connection)
    else:
        made.set_result(connection)


async def _terminate(connection: Any) -> None:
    connection.terminate()


async def _no_reset(connection: Any) -> None:
    """Connections are used for whole transactions only and hold no state worth a round trip."""
