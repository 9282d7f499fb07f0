"""Bare asyncpg: one INSERT a commit; batches by unnest on two connections; bulk by COPY."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from oacp_storage_bench.payloads import encode
from oacp_storage_bench.raw.base import Entry, Raw, driver
from oacp_storage_core import Durability

_SETTINGS = """
SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')
"""
_UNNEST = "unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::json[])"
_COLUMNS = ["agent", "sequence", "id", "at_us", "body"]


class RawPostgres(Raw):
    """asyncpg with prepared statements, in a schema of this run."""

    name = "asyncpg"
    slug = "asyncpg"
    lanes = 2

    async def open(self) -> None:
        """Connect, make the tables, and read what the server does at a commit."""
        asyncpg = driver("asyncpg", "oacp-storage-postgres")
        self._lanes = [await asyncpg.connect(self.place.url) for _ in range(self.lanes)]
        schema = self._schema = f"{self.place.name}_raw"
        first = self._lanes[0]
        await first.execute(
            f"CREATE SCHEMA {schema};"
            f"CREATE TABLE {schema}.log (agent text, sequence bigint, id text, at_us bigint, body json, "
            "PRIMARY KEY (agent, sequence));"
            f"CREATE TABLE {schema}.document (key text PRIMARY KEY, body json)"
        )
        log, document = f"{schema}.log", f"{schema}.document"
        self._insert = f"INSERT INTO {log} VALUES ($1, $2, $3, $4, $5)"  # noqa: S608 - names of our own
        self._unnest = f"INSERT INTO {log} SELECT * FROM {_UNNEST}"  # noqa: S608
        self._put = (
            f"INSERT INTO {document} VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET body = excluded.body"  # noqa: S608
        )
        self._get = f"SELECT body FROM {document} WHERE key = $1"  # noqa: S608
        self._last = f"SELECT body FROM {log} WHERE agent = $1 ORDER BY sequence DESC LIMIT $2"  # noqa: S608
        self._count = f"SELECT count(*) FROM {log}"  # noqa: S608
        self.durability, self.settings = await durability_of(first)

    async def close(self) -> None:
        """Drop the schema."""
        await self._lanes[0].execute(f"DROP SCHEMA {self._schema} CASCADE")
        await asyncio.gather(*(connection.close() for connection in self._lanes))

    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """One statement is a transaction of its own."""
        if len(entries) == 1:
            ((agent, payload),) = entries
            await self._lanes[lane].execute(self._insert, agent, *self.stamp(), encode(payload).decode())
        else:
            await self._lanes[lane].execute(self._unnest, *zip(*self._rows(entries), strict=True))

    async def bulk(self, entries: Sequence[Entry]) -> None:
        """COPY in binary form."""
        await self._lanes[0].copy_records_to_table(
            "log", schema_name=self._schema, columns=_COLUMNS, records=self._rows(entries)
        )

    def _rows(self, entries: Sequence[Entry]) -> list[tuple[object, ...]]:
        return [(agent, *self.stamp(), encode(payload).decode()) for agent, payload in entries]

    async def put(self, key: str, document: dict[str, Any]) -> None:
        """Insert or replace."""
        await self._lanes[0].execute(self._put, key, encode(document).decode())

    async def get(self, key: str) -> dict[str, Any] | None:
        """By the primary key."""
        body = await self._lanes[0].fetchval(self._get, key)
        return None if body is None else msgspec.json.decode(body)

    async def last(self, agent: str, limit: int) -> list[dict[str, Any]]:
        """By the primary key, from its end."""
        rows = await self._lanes[0].fetch(self._last, agent, limit)
        return [msgspec.json.decode(row[0]) for row in reversed(rows)]

    async def count(self) -> int:
        """All rows."""
        return int(await self._lanes[0].fetchval(self._count))


async def durability_of(connection: Any) -> tuple[Durability, str]:
    """What a commit on this asyncpg connection survives, and the settings that say so."""
    fsync, pages, commit = await connection.fetchrow(_SETTINGS)
    durable = fsync == "on" and pages == "on" and commit != "off"
    return "power-cut" if durable else "crash", f"fsync={fsync}, synchronous_commit={commit}"
