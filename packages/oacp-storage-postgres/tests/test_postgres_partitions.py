"""``partition_by_date``: interactions lie in partitions by the month of their commit, which retention drops whole."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from oacp_storage_conformance.load import whole_log
from oacp_storage_core import DuplicateIdError, StorageConfigError
from oacp_storage_postgres import PostgreSQLStorage
from postgres_testing import query

JANUARY = datetime(2020, 1, 15, tzinfo=UTC)
FEBRUARY = datetime(2020, 2, 1, tzinfo=UTC)
OLD = "interactions_2020_01"

PARTITIONS = """
SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
WHERE h.inhparent = 'oacp.interactions'::regclass ORDER BY 1
"""


async def make_old_partition(database: str) -> None:
    """As if the store had been there in January 2020."""
    await query(
        database,
        f"CREATE TABLE oacp.{OLD} (LIKE oacp.interactions INCLUDING DEFAULTS);"
        f"ALTER TABLE oacp.interactions ATTACH PARTITION oacp.{OLD}"
        " FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-02-01 00:00:00+00');"
        f"INSERT INTO oacp.partitions VALUES ('{OLD}', '2020-01-01 00:00:00+00', '2020-02-01 00:00:00+00');"
        "UPDATE oacp.interactions SET committed = '2020-01-20 00:00:00+00';",
    )


async def forbid_deletes(database: str) -> None:
    """From now on no row of the old partition can be deleted one by one."""
    await query(
        database,
        "CREATE FUNCTION no_delete() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'a row was deleted by itself'; END $$;"
        f"CREATE TRIGGER no_delete BEFORE DELETE ON oacp.{OLD} FOR EACH ROW EXECUTE FUNCTION no_delete();",
    )


async def partitions(database: str) -> list[str]:
    return [row["relname"] for row in await query(database, PARTITIONS)]


async def fill(storage: Any, agent: str, count: int, **options: Any) -> None:
    for n in range(count):
        await storage.store_interaction(agent, {"n": n}, **{"timestamp": JANUARY, **options})


@pytest.mark.asyncio
async def test_a_covered_partition_is_dropped_and_no_row_deleted(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await fill(storage, "ann", 20)
        await fill(storage, "bob", 5)
        await make_old_partition(database)
        await forbid_deletes(database)
        assert await storage.count_interactions("ann") == 20
        assert await storage.delete_interactions(before=FEBRUARY, dry_run=True) == 25
        assert OLD in await partitions(database)
        assert await storage.delete_interactions(before=FEBRUARY) == 25
        assert OLD not in await partitions(database)
        assert await query(database, "SELECT to_regclass($1)", f"oacp.{OLD}") == [(None,)]
        assert await storage.list_agents() == ["ann", "bob"]
        await storage.store_interaction("ann", {})
        assert [one.sequence for one in await whole_log(storage, "ann")] == [21]
        assert await storage.delete_interactions(before=FEBRUARY) == 0


@pytest.mark.asyncio
async def test_a_partition_of_which_something_remains_is_kept(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await fill(storage, "ann", 5)
        await fill(storage, "ann", 1, timestamp=FEBRUARY)  # told of later, though committed with the others
        await make_old_partition(database)
        assert await storage.delete_interactions(before=FEBRUARY) == 5
        assert OLD in await partitions(database)
        assert [one.sequence for one in await whole_log(storage, "ann")] == [6]
        assert await storage.delete_interactions(before=datetime(2020, 3, 1, tzinfo=UTC)) == 1
        assert OLD not in await partitions(database)


@pytest.mark.asyncio
async def test_a_partition_with_rows_of_another_namespace_is_kept(database: str) -> None:
    async with (
        PostgreSQLStorage(database, partition_by_date=True) as storage,
        PostgreSQLStorage(database, namespace="other") as other,
    ):
        await fill(storage, "ann", 5)
        await fill(other, "ann", 2)
        await make_old_partition(database)
        assert await storage.delete_interactions(before=FEBRUARY) == 5
        assert OLD in await partitions(database)
        assert await other.count_interactions("ann") == 2
        assert await other.delete_interactions(before=FEBRUARY) == 2
        assert OLD not in await partitions(database)


@pytest.mark.asyncio
async def test_what_a_deleted_agent_left_does_not_count_when_its_partition_goes(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await fill(storage, "ann", 3)
        await fill(storage, "bob", 2)
        await make_old_partition(database)
        await query(  # hidden and not yet erased, as after a crash in the middle
            database,
            "INSERT INTO oacp.erasures SELECT agent_id, namespace, incarnation, head FROM oacp.agents"
            " WHERE agent_id = 'bob'; DELETE FROM oacp.agents WHERE agent_id = 'bob';",
        )
        assert await storage.delete_interactions(before=FEBRUARY) == 3
        assert OLD not in await partitions(database)


@pytest.mark.asyncio
async def test_a_partition_that_somebody_reads_is_left_to_ordinary_deletion(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await fill(storage, "ann", 5)
        await make_old_partition(database)
        reader = await asyncpg.connect(database)
        try:
            async with reader.transaction():
                await reader.fetch("SELECT count(*) FROM oacp.interactions")
                assert await storage.delete_interactions(before=FEBRUARY) == 5
                assert OLD in await partitions(database)
        finally:
            await reader.close()


@pytest.mark.asyncio
async def test_nobody_waits_while_it_is_found_out_what_can_be_dropped(database: str) -> None:
    older = "interactions_2019_12"
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await query(
            database,
            f"CREATE TABLE oacp.{older} PARTITION OF oacp.interactions"
            " FOR VALUES FROM ('2019-12-01 00:00+00') TO ('2020-01-01 00:00+00');"
            f"INSERT INTO oacp.partitions VALUES ('{older}', '2019-12-01 00:00+00', '2020-01-01 00:00+00');",
        )
        await fill(storage, "ann", 5)
        await make_old_partition(database)
        writer = await asyncpg.connect(database)
        try:
            async with writer.transaction():
                await writer.execute(f"LOCK TABLE oacp.{OLD} IN ROW EXCLUSIVE MODE")
                deleting = asyncio.ensure_future(storage.delete_interactions(before=FEBRUARY))
                while not await writer.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    assert not deleting.done(), "it did not wait for the writer"
                    await asyncio.sleep(0.01)
                held = (
                    "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
                    " AND relation = 'oacp.interactions'::regclass"
                )
                assert await writer.fetchval(held) == 0
            assert await deleting == 5
            assert not {OLD, older} & set(await partitions(database))
        finally:
            await writer.close()


@pytest.mark.asyncio
async def test_given_ids_are_unique_over_partitions(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await storage.store_interaction("ann", {"n": 1}, interaction_id="one")
        await make_old_partition(database)
        assert await storage.store_interaction("ann", {"n": 1}, interaction_id="one") == "one"
        with pytest.raises(DuplicateIdError):
            await storage.store_interaction("ann", {"n": 2}, interaction_id="one")
        await storage.store_interaction("ann", {"n": 3}, interaction_id="two")
        assert [(one.sequence, one.id) for one in await whole_log(storage, "ann")] == [(1, "one"), (2, "two")]
        found = await storage.get_interaction("ann", "one")
        assert found is not None
        assert found.data == {"n": 1}


@pytest.mark.asyncio
async def test_this_month_and_the_next_are_created_ahead_however_many_open_at_once(database: str) -> None:
    storages = [PostgreSQLStorage(database, partition_by_date=True) for _ in range(8)]
    await asyncio.gather(*(storage.open() for storage in storages))
    now = datetime.now(UTC)
    following = now.replace(day=1, year=now.year + now.month // 12, month=now.month % 12 + 1)
    assert await partitions(database) == [f"interactions_{month:%Y_%m}" for month in (now, following)]
    for storage in storages:
        await storage.close()


@pytest.mark.asyncio
async def test_a_process_that_runs_into_a_month_without_partition_has_it_made(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await storage.store_interaction("ann", {"n": 1})
        this_month = f"interactions_{datetime.now(UTC):%Y_%m}"
        await query(
            database,
            f"DROP TABLE oacp.{this_month}; DELETE FROM oacp.partitions WHERE name = '{this_month}';",
        )
        await storage.store_interaction("ann", {"n": 2})
        assert await storage.get_interactions("ann") == [{"n": 2}]
        assert this_month in await partitions(database)


def partition(database: str) -> str:
    command = [sys.executable, "-m", "oacp_storage_postgres", "partition", database]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.asyncio
@pytest.mark.parametrize("indexed", [False, True])
async def test_a_filled_store_becomes_partitioned_by_the_command(database: str, indexed: bool) -> None:
    async with PostgreSQLStorage(database, enable_json_indexing=indexed) as storage:
        await storage.store_interactions("ann", [{"n": n} for n in range(100)])
        with pytest.raises(StorageConfigError, match="python -m oacp_storage_postgres partition"):
            await PostgreSQLStorage(database, partition_by_date=True).open()
        before = await query(database, "SELECT 'oacp.interactions'::regclass::oid AS oid")
        partition(database)
        partition(database)
        after = await query(database, "SELECT 'oacp.interactions_before'::regclass::oid AS oid")
        assert before == after, "the old table is the first partition itself, not a copy"
        assert "interactions_before" in await partitions(database)
        # A storage that was open all the time goes on.
        await storage.store_interaction("ann", {"n": 100})
        assert await storage.get_interactions("ann", 3) == [{"n": 98}, {"n": 99}, {"n": 100}]
        assert await storage.delete_interactions("ann", keep_last=10) == 91
    async with PostgreSQLStorage(database, partition_by_date=True, enable_json_indexing=indexed) as storage:
        assert [one.sequence async for one in storage.iter_interactions("ann", where={"n": 100})] == [101]
        assert (await query(database, "SELECT count(*) FROM oacp.interaction_log"))[0][0] == 10
        assert [damage async for damage in storage.verify()] == []


@pytest.mark.asyncio
@pytest.mark.parametrize("filled", [False, True])
async def test_the_command_leaves_views_and_what_they_are_granted(database: str, filled: bool) -> None:
    views = ("interaction_log", "interactions_by_agent", "interactions_by_day", "interactions_by_type")
    grants = (
        "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC'"
        " AND table_schema = 'oacp' AND privilege_type = 'SELECT' ORDER BY 1"
    )
    async with PostgreSQLStorage(database) as storage:
        if filled:
            await storage.store_interaction("ann", {"n": 1})
        await query(
            database,
            "".join(f"GRANT SELECT ON oacp.{view} TO PUBLIC;" for view in views)
            + "CREATE VIEW report AS SELECT * FROM oacp.interactions_by_agent;",
        )
        partition(database)
        assert [row["table_name"] for row in await query(database, grants)] == list(views)
        await storage.store_interaction("ann", {"n": 2})
        assert await query(database, "SELECT interactions FROM report") == [(1 + filled,)]
    left = await query(database, "SELECT to_regclass('oacp.interactions_before') IS NOT NULL")
    assert left == [(filled,)]


@pytest.mark.asyncio
async def test_a_partition_that_a_view_shows_is_left_to_ordinary_deletion(database: str) -> None:
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await fill(storage, "ann", 5)
        await make_old_partition(database)
        await query(database, f"CREATE VIEW report AS SELECT * FROM oacp.{OLD}")
        assert await storage.delete_interactions(before=FEBRUARY) == 5
        assert OLD in await partitions(database)


@pytest.mark.asyncio
async def test_only_a_partition_is_ever_dropped(database: str) -> None:
    """Whatever stands in oacp.partitions, the function that runs with the owner's rights drops nothing else."""
    async with PostgreSQLStorage(database, partition_by_date=True) as storage:
        await storage.store_interaction("ann", {"n": 1})
        await query(
            database,
            "CREATE TABLE oacp.precious (LIKE oacp.interactions);"
            "INSERT INTO oacp.partitions VALUES"
            " ('precious', '2020-01-01 00:00:00+00', '2020-02-01 00:00:00+00');",
        )
        assert await storage.delete_interactions(before=FEBRUARY) == 0
        assert await query(database, "SELECT to_regclass('oacp.precious') IS NOT NULL") == [(True,)]
