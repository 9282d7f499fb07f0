"""Payloads are kept as the text they are; the index and the views see what of them jsonb can hold."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from oacp_storage_core import StorageConfigError, StorageError
from oacp_storage_core.where import compile_where
from oacp_storage_engine import Hint
from oacp_storage_postgres import PostgreSQLStorage
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.__main__ import run
from oacp_storage_postgres.pushdown import conditions
from postgres_testing import query

HARD: dict[str, Any] = {
    "z": "\0 and \U0001f600",
    "": 2**70,
    "a.b": -0.0,
    "$x": [1, 1.0, 1e308, 5e-324, True, None],
    "_id": {"b": 1, "a": int("9" * 4300)},
}


@pytest.mark.asyncio
async def test_the_canonical_text_is_what_is_stored(database: str) -> None:
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interaction("ann", HARD)
        await storage.store_agent_state("ann", HARD)
        ((text,),) = await query(database, "SELECT body::text FROM oacp.interactions")
        ((of_state,),) = await query(database, "SELECT body::text FROM oacp.documents")
        assert text == of_state
        assert list(json.loads(text)) == list(HARD)
        assert "\\u0000" in text
        assert str(2**70) in text
        assert "-0.0" in text
        assert repr((await storage.get_interactions("ann"))[0]) == repr(HARD)
        ((kind,),) = await query(
            database,
            "SELECT atttypid::regtype::text FROM pg_attribute"
            " WHERE attrelid = 'oacp.interactions'::regclass AND attname = 'body'",
        )
        assert kind == "json"


async def plan_of(database: str, where: dict[str, Any]) -> str:
    """How the server would read a page of ann's log under this condition."""
    predicate = compile_where(where)
    assert predicate is not None
    text, arguments = conditions(Hint(terms=predicate.terms), 7, indexed=True)
    statement = sql.read_log(reverse=False, conditions=text)
    rows = await query(
        database, "EXPLAIN " + statement, "ann", "default", 0, 2**62, 1000, 1 << 22, *arguments
    )
    return "\n".join(row[0] for row in rows)


@pytest.mark.asyncio
async def test_where_uses_the_index_and_a_row_with_nul_breaks_nothing(database: str) -> None:
    async with PostgreSQLStorage(database, enable_json_indexing=True) as storage:
        await storage.store_interactions("ann", [{"type": "step", "n": n} for n in range(5000)])
        await storage.store_interaction("ann", {"type": "rare", "meta": {"who": "x"}})
        await storage.store_interaction("ann", {"type": "rare", "text": "with \0 in it"})
        await storage.store_interaction("ann", {"type": "other", "text": "with \0 in it"})
        await query(database, "ANALYZE oacp.interactions")
        for where in ({"type": "rare"}, {"meta.who": "x"}, {"n": 17}, {"n": 17.0}):
            assert "interactions_projection" in await plan_of(database, where), where
        assert "interactions_projection" not in await plan_of(database, {"n": {"$gt": 4990}})

        async def found(where: dict[str, Any]) -> list[int]:
            return [one.sequence async for one in storage.iter_interactions("ann", where=where)]

        assert await found({"type": "rare"}) == [5001, 5002]
        assert await found({"meta.who": "x"}) == [5001]
        assert await found({"text": "with \0 in it"}) == [5002, 5003]
        assert await found({"n": 17.0}) == [18]
        assert await storage.count_interactions("ann", where={"type": "rare"}) == 2


@pytest.mark.asyncio
async def test_a_filled_store_gets_the_index_by_the_command_while_writers_go_on(database: str) -> None:
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'oacp.interactions_projection'::regclass"
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interaction("ann", {"type": "rare"})
        with pytest.raises(StorageConfigError, match="oacp_storage_postgres index"):
            await PostgreSQLStorage(database, enable_json_indexing=True).open()
        holder = await asyncpg.connect(database)
        try:
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("INSERT INTO oacp.tombstones VALUES ('', '', 1)")
            await holder.execute("LOCK TABLE oacp.interactions IN ROW EXCLUSIVE MODE")  # a write under way
            indexing = asyncio.ensure_future(run("index", database))
            while not await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not indexing.done()
                await asyncio.sleep(0.01)
            await storage.store_interaction("ann", {"type": "meanwhile"})
            with pytest.raises(StorageError, match="somebody else"):
                await run("index", database)
            await transaction.rollback()
        finally:
            await holder.close()
        await indexing
        assert (await query(database, valid))[0][0]
        # One of which the making was interrupted is made anew, and not taken for one before that.
        await query(
            database,
            valid.replace("SELECT indisvalid FROM", "UPDATE").replace(
                " WHERE", " SET indisvalid = false WHERE"
            ),
        )
        with pytest.raises(StorageConfigError, match="oacp_storage_postgres index"):
            await PostgreSQLStorage(database, enable_json_indexing=True).open()
        await run("index", database)
        assert (await query(database, valid))[0][0]
    async with PostgreSQLStorage(database, enable_json_indexing=True) as indexed:
        assert [one.sequence async for one in indexed.iter_interactions("ann", where={"type": "rare"})] == [1]


@pytest.mark.asyncio
async def test_the_index_changes_no_answer(database: str) -> None:
    """Each condition is asked with and without the index; what it may discard are sure misses only."""
    rows: list[dict[str, Any]] = [
        {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {}, {"a": {"b": [1, {"c": 2}]}}, {"a": [1, 2]},
        {"a": 2**60}, {"a": float(2**60)}, {"a": 0.1}, {"a": -0.0}, {"a": {"0": "zero"}}, {"a": ["zero"]},
        {"a": "\0"}, {"a": "x", "b": "\0"}, {"a": 10**400}, HARD,
    ]  # fmt: skip
    wheres: list[dict[str, Any]] = [{"a": row["a"]} for row in rows if "a" in row]
    wheres += [{"a.0": "zero"}, {"a.b.1.c": 2}, {"/a/b/0": 1}, {"a": {"$in": [1, "x"]}}, {"a": {"$ne": 1}}]
    async with (
        PostgreSQLStorage(database, enable_json_indexing=True) as indexed,
        PostgreSQLStorage(database) as plain,
    ):
        await indexed.store_interactions("ann", rows)
        for where in wheres:
            with_index = [one.sequence async for one in indexed.iter_interactions("ann", where=where)]
            without = [one.sequence async for one in plain.iter_interactions("ann", where=where)]
            assert with_index == without, where


@pytest.mark.asyncio
async def test_the_views_report_by_agent_day_and_type(database: str) -> None:
    day = datetime(2024, 5, 1, 12, tzinfo=UTC)
    async with PostgreSQLStorage(database) as storage:
        for n in range(3):
            await storage.store_interaction("ann", {"type": "message", "n": n}, timestamp=day)
        await storage.store_interaction("bob", {"type": "vote"}, timestamp=day.replace(day=2))
        await storage.store_interaction("bob", {"type": "vote", "text": "\0"}, timestamp=day.replace(day=2))
        await storage.store_interaction("gone", {"type": "vote"}, timestamp=day)
        await storage.delete_agent("gone")
        await storage.store_agent_state("ann", {"mood": "good"})
        await storage.store_learning_data("ann", "colour", {"likes": "green"})

    async def rows(statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await query(database, statement)]

    by_agent = "SELECT agent_id, interactions, first_at FROM oacp.interactions_by_agent ORDER BY 1"
    assert await rows(by_agent) == [("ann", 3, day), ("bob", 2, day.replace(day=2))]
    by_day = "SELECT day::text, interactions, agents FROM oacp.interactions_by_day ORDER BY 1"
    assert await rows(by_day) == [("2024-05-01", 3, 1), ("2024-05-02", 2, 1)]
    by_type = "SELECT type, interactions, agents FROM oacp.interactions_by_type ORDER BY 1"
    assert await rows(by_type) == [("message", 3, 1), ("vote", 1, 1), (None, 1, 1)]
    assert await rows("SELECT agent_id, version, data ->> 'mood' FROM oacp.agent_states") == [
        ("ann", 1, "good")
    ]
    learned = "SELECT agent_id, key, data ->> 'likes' FROM oacp.learning_data"
    assert await rows(learned) == [("ann", "colour", "green")]


@pytest.mark.asyncio
async def test_reports_over_many_rows_stand_a_parallel_plan(database: str) -> None:
    """The projection catches errors in a subtransaction, which parallel workers of older servers cannot have."""
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interactions("ann", [{"type": "\0" if n % 2 else "t"} for n in range(5000)])
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("ANALYZE oacp.interactions")
        for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            await connection.execute(f"SET {name} = 0")
        rows = await connection.fetch("SELECT type, interactions FROM oacp.interactions_by_type ORDER BY 1")
        assert [tuple(row) for row in rows] == [("t", 2500), (None, 2500)]
    finally:
        await connection.close()
