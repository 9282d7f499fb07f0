"""What was damaged or lost inside the database is noticed, hides nothing else, and doubles no sequence."""

from __future__ import annotations

import pytest

from oacp_storage_conformance.load import whole_log
from oacp_storage_core import CorruptDataError
from oacp_storage_postgres import PostgreSQLStorage
from postgres_testing import query


@pytest.mark.parametrize("size", [2**31 - 1, 0, -(2**31)])
@pytest.mark.asyncio
async def test_a_damaged_size_is_reported_and_hides_nothing(database: str, size: int) -> None:
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interactions("ann", [{"n": n} for n in range(1, 10)])
        await query(database, f"UPDATE oacp.interactions SET size = {size} WHERE sequence = 3")
        found = [damage async for damage in storage.verify()]
        assert [(damage.agent_id, damage.sequence) for damage in found] == [("ann", 3)]
        assert "size" in found[0].reason
        with pytest.raises(CorruptDataError):
            await whole_log(storage, "ann")
        rest = [one.sequence async for one in storage.iter_interactions("ann", after=3)]
        assert rest == [4, 5, 6, 7, 8, 9]


@pytest.mark.asyncio
async def test_every_size_damaged_hides_nothing(database: str) -> None:
    """A sum that goes up and down again must not leave out what is in between."""
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interactions("ann", [{"n": n} for n in range(1, 7)])
        await query(
            database,
            "UPDATE oacp.interactions SET size = CASE sequence % 2 WHEN 1 THEN 1 ELSE -1 END * 2147483647",
        )
        found = [damage.sequence async for damage in storage.verify()]
        assert found == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.asyncio
async def test_the_log_of_a_lost_agent_is_reported_and_goes_on(database: str, partitioned: bool) -> None:
    async with PostgreSQLStorage(database, partition_by_date=partitioned) as storage:
        await storage.store_interactions("ann", [{"n": 1}, {"n": 2}])
        await storage.store_agent_state("ann", {"n": 1})
        await storage.store_learning_data("ann", "key", {"n": 1})
        await storage.store_interaction("bob", {"n": 1})
        await storage.delete_agent("bob")
        await storage.store_interaction("bob", {"n": 2})
        assert [damage async for damage in storage.verify()] == []
        await query(database, "DELETE FROM oacp.agents WHERE agent_id = 'ann'")
        found = [damage async for damage in storage.verify()]
        assert [(damage.kind, damage.agent_id) for damage in found] == [
            ("interaction", "ann"),
            ("learning_data", "ann"),
        ]
        assert (found[0].sequence, found[1].key) == (1, "key")
        await storage.store_interaction("ann", {"n": 3})
        assert [one.sequence for one in await whole_log(storage, "ann")] == [1, 2, 3]


@pytest.mark.asyncio
async def test_what_is_being_erased_is_no_damage(database: str) -> None:
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interactions("ann", [{"n": 1}, {"n": 2}])
        await storage.store_agent_state("ann", {"n": 1})
        await query(
            database,
            "WITH gone AS (DELETE FROM oacp.agents RETURNING *) INSERT INTO oacp.erasures"
            " SELECT agent_id, namespace, incarnation, head FROM gone",
        )
        assert [damage async for damage in storage.verify()] == []


@pytest.mark.asyncio
async def test_an_agent_that_is_older_than_its_log_is_an_error_at_once(database: str) -> None:
    async with PostgreSQLStorage(database, timeout=30) as storage:
        await storage.store_interactions("ann", [{"n": 1}, {"n": 2}])
        await query(database, "UPDATE oacp.agents SET head = 1")
        for interaction_id in (None, "given"):
            with pytest.raises(CorruptDataError, match="older than its log"):
                await storage.store_interaction("ann", {"n": 3}, interaction_id=interaction_id)
        found = [damage.sequence async for damage in storage.verify()]
        assert found == [2]
