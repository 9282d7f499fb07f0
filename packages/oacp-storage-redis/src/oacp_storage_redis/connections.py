"""Connections to one server, and round trips on them.

The driver's own client and pool send again by themselves whatever was cut, and do not tell whether something had
been sent. So its connections are used here without them: what is not sent is ``NotApplied``, what had no answer is
``Unknown``, and everything else is decided above.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Any

from redis import exceptions as driver

from oacp_storage_engine import NotApplied, Unknown
from oacp_storage_redis.dropping import drop, keep_untouched
from oacp_storage_redis.errors import answered, connecting

_LOST = (OSError, EOFError, driver.ConnectionError, driver.TimeoutError)


class Node:
    """One server: at most ``limit`` connections to it, made by ``make`` as they are needed, and kept.

    ``address`` is for messages. ``response_timeout`` is the seconds after which a connection without an answer is
    taken for lost.
    """

    def __init__(
        self,
        address: str,
        make: Callable[[], Any],
        *,
        limit: int,
        connect_timeout: float,
        response_timeout: float,
    ) -> None:
        self.address = address
        self.response_timeout = response_timeout
        self._make = make
        self._connect_timeout = connect_timeout
        self._room = asyncio.Semaphore(limit)
        self._idle: list[Any] = []
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pid = os.getpid()

    async def connect(self) -> Any:
        """A new connection, for whoever asks to close; raises ``NotApplied``, or a final error."""
        connection = self._make()
        self._made.add(connection)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()
        except (TimeoutError, OSError, driver.RedisError) as exc:
            drop(connection)
            raise connecting(exc, self.address) from exc
        except BaseException:
            drop(connection)
            raise
        return connection

    async def exchange(
        self, commands: bytes, replies: int = 1, *, deadline: float | None = None, urgent: bool = False
    ) -> list[Any]:
        """Send commands, and return as many replies; errors of the server are among them, not raised.

        It ends by ``deadline``, a time of the loop's clock. What is ``urgent`` does not wait for others. Raises
        ``NotApplied`` when nothing was sent, ``Unknown`` when the connection was lost afterwards. Cancelling it ends
        the connection.
        """
        if urgent:
            return await self._exchange(commands, replies, deadline)
        if self._room.locked():
            await self._wait_for_room(deadline)
        else:
            await self._room.acquire()  # at once
        try:
            return await self._exchange(commands, replies, deadline)
        finally:
            self._room.release()

    async def _wait_for_room(self, deadline: float | None) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._room.acquire()
        except TimeoutError as exc:
            raise NotApplied(
                f"all connections to Redis at {self.address} were busy: raise pool_size, or ask for less at once"
            ) from exc

    async def _exchange(self, commands: bytes, replies: int, deadline: float | None) -> list[Any]:
        now = asyncio.get_running_loop().time()
        end = now + self.response_timeout
        if deadline is not None:
            if deadline <= now:
                raise NotApplied("its time was over before anything was sent")
            end = min(end, deadline)
        connection = self._idle.pop() if self._idle else await self.connect()
        whole = False
        try:
            async with asyncio.timeout_at(end):
                await connection.send_packed_command(commands, check_health=False)
                found = [await _reply(connection) for _ in range(replies)]
            whole = True
        except _LOST as exc:
            self.drop_idle()  # they are likely as dead
            if isinstance(exc, driver.BusyLoadingError | driver.AuthenticationError):
                raise answered(exc) from exc
            raise Unknown(f"the connection to Redis at {self.address} was lost") from exc
        finally:
            if not whole:
                drop(connection)
        self._idle.append(connection)
        return found

    def drop_idle(self) -> None:
        """End the connections that nobody uses now."""
        idle, self._idle = self._idle, []
        for connection in idle:
            drop(connection)

    async def close(self) -> None:
        """Close all connections, waiting until their transports are done."""
        for connection in list(self._made):
            try:
                await connection.disconnect()
            except _LOST:
                drop(connection)
        self._idle.clear()

    def abandon(self) -> None:
        """Drop all connections without awaiting anything."""
        connections = list(self._made)
        if self._pid != os.getpid():
            keep_untouched(connections)
            return
        for connection in connections:
            drop(connection)
        self._idle.clear()


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except driver.ResponseError as exc:
        return exc
