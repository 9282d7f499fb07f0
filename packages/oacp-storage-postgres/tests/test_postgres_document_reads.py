"""Reads of documents that are sent together: each gets its own, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from oacp_storage_engine import DocKind
from oacp_storage_postgres import PostgreSQLStorage
from oacp_storage_postgres.document_reads import DocumentReads
from postgres_testing import query


@pytest.mark.asyncio
async def test_reads_at_once_take_few_statements_and_each_gets_its_own(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgreSQLStorage(database) as storage:
        for n in range(10):
            await storage.store_agent_state(f"agent {n}", {"n": n})
            await storage.store_learning_data(f"agent {n}", "k", {"learned": n})
        await storage.delete_agent("agent 7")
        statements = []
        fetch = asyncpg.Connection.fetch

        async def counted(connection: Any, statement: str, *arguments: Any, **options: Any) -> Any:
            statements.append(statement)
            return await fetch(connection, statement, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, "fetch", counted)
        states = [storage.get_agent_state(f"agent {n % 12}") for n in range(120)]
        learned = [storage.get_learning_data(f"agent {n % 12}", "kx"[n % 2]) for n in range(120)]
        found = await asyncio.gather(*states, *learned)
    there = [n % 12 < 10 and n % 12 != 7 for n in range(120)]
    assert found[:120] == [{"n": n % 12} if there[n] else None for n in range(120)]
    assert found[120:] == [{"learned": n % 12} if there[n] and n % 2 == 0 else None for n in range(120)]
    assert len(statements) < 10


@pytest.mark.asyncio
async def test_each_sees_what_was_acknowledged_before(database: str) -> None:
    async with PostgreSQLStorage(database) as storage:

        async def work(agent: str) -> None:
            for n in range(1, 40):
                assert await storage.store_agent_state(agent, {"n": n}) == n
                assert await storage.get_agent_state(agent) == {"n": n}

        await asyncio.gather(*(work(f"agent {n}") for n in range(12)))


@pytest.mark.asyncio
async def test_one_that_is_cancelled_and_a_connection_that_is_lost_do_the_others_no_harm(
    database: str,
) -> None:
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with PostgreSQLStorage(database) as storage:
        await storage.store_agent_state("ann", {"n": 1})
        for steps in range(12):
            reads = [asyncio.ensure_future(storage.get_agent_state("ann")) for _ in range(20)]
            for _ in range(steps):
                await asyncio.sleep(0)
            for read in reads[::3]:
                read.cancel()
            if steps % 4 == 0:
                await query(database, others)
            found = await asyncio.gather(*reads, return_exceptions=True)
            for n, one in enumerate(found):
                assert one == {"n": 1} or (n % 3 == 0 and isinstance(one, asyncio.CancelledError)), one
        engine: Any = storage._call().engine  # noqa: SLF001
        assert engine._document_reads._under_way == 0  # noqa: SLF001


class Hanging:
    """Connections of which the first three never answer."""

    timeout = 0.3

    def __init__(self) -> None:
        self.uses = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        self.uses += 1
        yield self

    async def fetch(self, _statement: str, *_arguments: Any) -> list[dict[str, Any]]:
        if self.uses <= 3:
            await asyncio.Event().wait()
        return [{"key": "k", "version": 1}]


@pytest.mark.asyncio
async def test_those_that_hang_hold_up_nobody_for_long() -> None:
    connections: Any = Hanging()
    reads = DocumentReads(connections, "default")
    hanging = [asyncio.ensure_future(reads.read("ann", DocKind.STATE, ["k"])) for _ in range(2)]
    await asyncio.sleep(0)
    together = [asyncio.ensure_future(reads.read("ann", DocKind.STATE, ["k"])) for _ in range(3)]
    await asyncio.sleep(0)
    hanging[0].cancel()  # a place is free: those three are sent together, and hang too
    for one in together:
        with pytest.raises(Exception, match="did not answer"):
            await one
    assert list(await reads.read("ann", DocKind.STATE, ["k"])) == ["k"]
    waiting = asyncio.ensure_future(reads.read("ann", DocKind.STATE, ["k"]))
    assert list(await waiting) == ["k"]
    reads._under_way += 1  # noqa: SLF001 - all places taken by what hangs: it goes its own way
    async with asyncio.timeout(10):
        assert list(await reads.read("ann", DocKind.STATE, ["k"])) == ["k"]
    hanging[1].cancel()
    await asyncio.wait(hanging)
