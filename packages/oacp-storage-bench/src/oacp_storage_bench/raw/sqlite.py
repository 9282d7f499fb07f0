"""Bare SQLite: sqlite3 without a thread, and aiosqlite as its documentation shows it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from oacp_storage_bench.payloads import encode
from oacp_storage_bench.raw.base import Entry, Raw, driver

SETTINGS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
TABLES = (
    "CREATE TABLE log (agent TEXT, sequence INT, id TEXT, at_us INT, body TEXT, PRIMARY KEY (agent, sequence))",
    "CREATE TABLE document (key TEXT PRIMARY KEY, body TEXT)",
)
APPEND = "INSERT INTO log VALUES (?, ?, ?, ?, CAST(? AS TEXT))"
PUT = "REPLACE INTO document VALUES (?, CAST(? AS TEXT))"
GET = "SELECT body FROM document WHERE key = ?"
LAST = "SELECT body FROM log WHERE agent = ? ORDER BY sequence DESC LIMIT ?"
COUNT = "SELECT count(*) FROM log"
DESCRIBED = "WAL, synchronous=FULL"


class RawSqlite(Raw):
    """sqlite3 in the thread that calls it."""

    name = "sqlite3, no thread"
    slug = "sqlite3"

    async def open(self) -> None:
        """Make the database."""
        self._connection = sqlite3.connect(self.place.directory / "raw-sqlite3.db", isolation_level=None)
        for statement in (*SETTINGS, *TABLES):
            self._connection.execute(statement)
        self.durability = "power-cut"
        self.settings = DESCRIBED

    async def close(self) -> None:
        """Close it; the file goes with the run."""
        self._connection.close()

    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """One transaction."""
        rows = [(agent, *self.stamp(), encode(payload)) for agent, payload in entries]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(APPEND, rows)
        self._connection.execute("COMMIT")

    async def put(self, key: str, document: dict[str, Any]) -> None:
        """One statement is a transaction of its own."""
        self._connection.execute(PUT, (key, encode(document)))

    async def get(self, key: str) -> dict[str, Any] | None:
        """By the primary key."""
        row = self._connection.execute(GET, (key,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0])

    async def last(self, agent: str, limit: int) -> list[dict[str, Any]]:
        """By the primary key, from its end."""
        rows = self._connection.execute(LAST, (agent, limit)).fetchall()
        return [msgspec.json.decode(row[0]) for row in reversed(rows)]

    async def count(self) -> int:
        """All rows."""
        return int(self._connection.execute(COUNT).fetchone()[0])


class RawAiosqlite(Raw):
    """aiosqlite: what an asynchronous program reaches without group commit."""

    name = "aiosqlite"
    slug = "aiosqlite"
    only_single = True

    async def open(self) -> None:
        """Make the database."""
        aiosqlite = driver("aiosqlite", "aiosqlite")
        self._connection = await aiosqlite.connect(self.place.directory / "raw-aiosqlite.db")
        for statement in (*SETTINGS, *TABLES):
            await self._connection.execute(statement)
        self.durability = "power-cut"
        self.settings = DESCRIBED

    async def close(self) -> None:
        """Close it; the file goes with the run."""
        await self._connection.close()

    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """Execute and commit."""
        rows = [(agent, *self.stamp(), encode(payload)) for agent, payload in entries]
        if len(rows) == 1:
            await self._connection.execute(APPEND, rows[0])
        else:
            await self._connection.executemany(APPEND, rows)
        await self._connection.commit()

    async def put(self, key: str, document: dict[str, Any]) -> None:
        """Execute and commit."""
        await self._connection.execute(PUT, (key, encode(document)))
        await self._connection.commit()

    async def get(self, key: str) -> dict[str, Any] | None:
        """By the primary key."""
        async with self._connection.execute(GET, (key,)) as cursor:
            row = await cursor.fetchone()
        return None if row is None else msgspec.json.decode(row[0])

    async def last(self, agent: str, limit: int) -> list[dict[str, Any]]:
        """By the primary key, from its end."""
        rows = await self._connection.execute_fetchall(LAST, (agent, limit))
        return [msgspec.json.decode(row[0]) for row in reversed(list(rows))]

    async def count(self) -> int:
        """All rows."""
        (row,) = await self._connection.execute_fetchall(COUNT)
        return int(row[0])
