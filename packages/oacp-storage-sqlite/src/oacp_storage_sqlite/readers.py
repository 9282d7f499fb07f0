"""The pool of readers: connections that read at the same time, opened as they are needed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from oacp_storage_sqlite.job_connection import Job, JobConnection

T = TypeVar("T")


class ReaderPool:
    """Up to ``size`` connections; a job gets the one used last, or waits its turn."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._idle: list[JobConnection] = []
        self._all: list[JobConnection] = []
        self._waiting: deque[asyncio.Future[JobConnection]] = deque()

    async def perform(self, job: Job[T]) -> T:
        """Run the job on one of the connections. A cancelled caller's statement is interrupted."""
        connection = await self._take()
        running = connection.submit(job)
        running.add_done_callback(lambda _: self._give(connection))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not running.done():  # afterwards the connection may be somebody else's
                connection.interrupt_job()
            raise

    async def close(self) -> None:
        """Close all connections after their jobs."""
        for connection in self._all:
            await connection.close()

    def abandon(self) -> None:
        """Drop all connections without waiting."""
        for connection in self._all:
            connection.abandon()

    async def _take(self) -> JobConnection:
        if self._idle:
            return self._idle.pop()
        if len(self._all) < self._size:
            connection = JobConnection(self._connect)
            self._all.append(connection)
            return connection
        place: asyncio.Future[JobConnection] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give(place.result())
            raise

    def _give(self, connection: JobConnection) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return
        self._idle.append(connection)
