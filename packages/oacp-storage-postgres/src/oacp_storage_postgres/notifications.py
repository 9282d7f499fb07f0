"""Waking watchers: NOTIFY after commits, and LISTEN on a connection of its own; or polling behind a pooler."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from oacp_storage_core import StorageError
from oacp_storage_engine.background import start_task
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.connections import Connections
from oacp_storage_postgres.errors import DRIVER_ERRORS

_log = logging.getLogger(__name__)

_LONGEST_PAYLOAD = 7900  # bytes; PostgreSQL takes up to 8000
_PAUSE = 0.02  # seconds between two announcements, which are put together meanwhile
_RETRY_SECONDS = 1.0  # between two attempts to announce, when the server does not take them
_CLOSE_SECONDS = 0.3  # for what is still to be announced; a part of the time that closing may take
_POLL_SECONDS = 0.1
_CHECK_SECONDS = 5.0


class Notifications:
    """The signals of one engine. Announcing never delays a commit, and losing one only delays a watcher."""

    def __init__(self, connections: Connections, namespace: str, *, listen: bool) -> None:
        self._connections = connections
        digest = hashlib.sha256(namespace.encode()).hexdigest()[:24]
        self._channel = f"oacp_{digest}"
        self._listen = listen
        self._changed: set[str] = set()
        self._announcer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def announce(self, agents: set[str]) -> None:
        """Tell other processes that these agents have new interactions, soon."""
        if agents:
            self._changed |= agents
            if self._announcer is None or self._announcer.done():
                self._announcer = start_task(self._announce(), "oacp-storage announce")

    async def signals(self) -> AsyncIterator[str | None]:
        """Agents announced by other processes; None for any of them."""
        while not self._listen:
            await asyncio.sleep(_POLL_SECONDS)
            yield None
        while True:
            connection = await self._connections.connect()
            heard: asyncio.Queue[str | None] = asyncio.Queue()
            connection.add_termination_listener(partial(_lose, heard))
            try:
                await connection.add_listener(self._channel, partial(_hear, heard))
                yield None
                while not connection.is_closed():
                    try:
                        async with asyncio.timeout(_CHECK_SECONDS):
                            payload = await heard.get()
                    except TimeoutError:  # a connection may be dead without a word
                        await connection.execute("SELECT 1", timeout=_CHECK_SECONDS)
                        continue
                    for agent in json.loads(payload) if payload else [None]:
                        yield agent
            except DRIVER_ERRORS as exc:
                _log.info("the connection that listens for new interactions was lost: %s", type(exc).__name__)
            finally:
                connection.terminate()
            yield None

    async def close(self) -> None:
        """Announce what is left, if that is possible in a moment, and stop."""
        self._closing.set()
        if self._announcer is not None:
            await asyncio.wait([self._announcer], timeout=_CLOSE_SECONDS)
            self._announcer.cancel()
            await asyncio.wait([self._announcer])

    def forget(self) -> None:
        """The loop has ended, and the task with it."""
        self._announcer = None

    async def _announce(self) -> None:
        while self._changed:
            agents, self._changed = self._changed, set()
            payload = json.dumps(sorted(agents))
            pause = _PAUSE
            try:
                async with asyncio.timeout(_CHECK_SECONDS), self._connections.reading() as connection:
                    await connection.fetchrow(
                        sql.NOTIFY, self._channel, payload if len(payload) <= _LONGEST_PAYLOAD else ""
                    )
            except (TimeoutError, StorageError) as exc:
                _log.info("new interactions could not be announced: %s", type(exc).__name__)
                if self._closing.is_set():
                    return
                self._changed |= agents
                pause = _RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()


def _lose(heard: asyncio.Queue[str | None], connection: Any) -> None:  # noqa: ARG001 - asyncpg's signature
    heard.put_nowait(None)


def _hear(heard: asyncio.Queue[str | None], connection: Any, pid: int, channel: str, payload: str) -> None:  # noqa: ARG001 - asyncpg's signature
    heard.put_nowait(payload)
