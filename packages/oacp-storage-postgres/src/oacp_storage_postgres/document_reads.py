"""Reading documents: what is asked for while others are read is read together, in one statement."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from oacp_storage_core import StorageError
from oacp_storage_engine import DocKind, NotApplied
from oacp_storage_engine.background import start_task
from oacp_storage_engine.failure import own_copy
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.connections import Connections

_AT_ONCE = 2  # statements: more keep more connections busy, and the server with going from one to the other
_MOST = 500  # reads in one statement
_PATIENCE = 0.5  # seconds; then a read goes its own way, should those under way hang


class _Asked:
    __slots__ = ("agent", "found", "keys", "kind")

    def __init__(
        self, agent: str, kind: DocKind, keys: Sequence[str], found: asyncio.Future[dict[str, Any]]
    ) -> None:
        self.agent = agent
        self.kind = kind
        self.keys = keys
        self.found = found


class DocumentReads:
    """The reads of agents' documents in one namespace. Each sees what was committed before it was asked for."""

    def __init__(self, connections: Connections, namespace: str) -> None:
        self._connections = connections
        self._namespace = namespace
        self._under_way = 0
        self._waiting: deque[_Asked] = deque()

    async def read(self, agent: str, kind: DocKind, keys: Sequence[str]) -> dict[str, Any]:
        """The rows by key, of those that exist."""
        if self._under_way < _AT_ONCE:
            return await self._read_alone(agent, kind, keys)
        asked = _Asked(agent, kind, keys, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asked.found
        except TimeoutError:
            return await self._read_alone(agent, kind, keys)

    async def _read_alone(self, agent: str, kind: DocKind, keys: Sequence[str]) -> dict[str, Any]:
        self._under_way += 1
        try:
            async with self._connections.reading() as connection:
                rows = await connection.fetch(sql.READ_DOCUMENTS, agent, self._namespace, kind, list(keys))
        finally:
            self._ended()
        return {row["key"]: row for row in rows}

    def _ended(self) -> None:
        """One statement ended: those who wait take its place."""
        self._under_way -= 1
        if self._waiting and self._under_way < _AT_ONCE:
            self._under_way += 1
            start_task(self._read_together(), "oacp-storage read documents")

    async def _read_together(self) -> None:
        group: list[_Asked] = []
        while self._waiting and len(group) < _MOST:
            asked = self._waiting.popleft()
            if not asked.found.done():  # else it was cancelled, or goes its own way
                group.append(asked)
        try:
            if group:
                async with asyncio.timeout(self._connections.timeout):
                    rows = await self._fetch(group)
                _answer(group, rows)
        except Exception as exc:  # noqa: BLE001 - each of those who asked gets it
            _fail(group, exc)
        finally:
            for asked in group:
                asked.found.cancel()  # where this task was cancelled, as when the loop ends
            self._ended()

    async def _fetch(self, group: list[_Asked]) -> list[Any]:
        wanted = [(asked.agent, asked.kind, key) for asked in group for key in asked.keys]
        agents, kinds, keys = map(list, zip(*wanted, strict=True))
        async with self._connections.reading() as connection:
            rows: list[Any] = await connection.fetch(
                sql.READ_SEVERAL_DOCUMENTS, self._namespace, agents, kinds, keys
            )
            return rows


def _answer(group: list[_Asked], rows: list[Any]) -> None:
    position = 0
    for asked in group:
        of_it = rows[position : position + len(asked.keys)]
        position += len(asked.keys)
        if not asked.found.done():
            asked.found.set_result({row["key"]: row for row in of_it if row["version"] is not None})


def _fail(group: list[_Asked], exc: Exception) -> None:
    if isinstance(exc, TimeoutError):
        exc = NotApplied("PostgreSQL did not answer a read")
    for asked in group:
        if not asked.found.done():
            asked.found.set_exception(own_copy(exc) if isinstance(exc, StorageError) else exc)
            asked.found.exception()  # seen: whoever asked may just be cancelled, and never look
