"""Round trips on a connection of the driver, without the stream that it reads from.

The driver connects, as it knows about TLS, passwords and databases. Then its transport is taken over: commands go out
packed, and the loop hands in what it has read, with no task, no stream and no timer of asyncio's in between.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import InvalidResponse

from oacp_storage_redis.replies import Replies


class Exchange(asyncio.Protocol):
    """One connection, on which one exchange is under way at a time. ``lost`` when it has ended."""

    def __init__(self, connection: Any) -> None:
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._replies = Replies()
        self._found: list[Any] = []
        self._wanted = 0
        self._waiter: asyncio.Future[list[Any]] | None = None
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001 - not to be had otherwise
        self._former = self._transport.get_protocol()
        self._transport.set_protocol(self)

    async def exchange(self, commands: bytes, replies: int, end: float) -> list[Any]:
        """Send commands, and return as many replies; ``OSError`` or ``InvalidResponse`` when they do not come.

        ``end`` is a time of the loop's clock. After a failure, or when it was cancelled, the connection must be
        dropped.
        """
        waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        self._found, self._wanted, self._waiter = [], replies, waiter
        timer = self._loop.call_at(end, self._fail, TimeoutError("no reply in time"))
        self._transport.write(commands)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def data_received(self, data: bytes) -> None:
        """Of the loop: what it has read."""
        try:
            self._found += self._replies.feed(data)
        except (InvalidResponse, ValueError) as exc:
            self._fail(exc)
            return
        if self._waiter is not None and len(self._found) >= self._wanted and not self._waiter.done():
            self._waiter.set_result(self._found)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of the loop: there comes no more."""
        self.lost = True
        self._former.connection_lost(exc)  # which the driver waits for when it disconnects
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("the server closed it"))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done() and not self._loop.is_closed():
            self._waiter.set_exception(error)
