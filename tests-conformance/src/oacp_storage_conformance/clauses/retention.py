"""Retention: ``delete_interactions`` by id, age and count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_core import Capability

DELETION = ClauseName.DELETION
RETENTION, HISTORY, IDEMPOTENT = Capability.RETENTION, Capability.HISTORY, Capability.IDEMPOTENT_APPEND
START = datetime(2024, 5, 1, tzinfo=UTC)

# The log of these tests: sequence n has the id "id n"; the days are out of order on purpose.
DAYS = [3, 1, 7, 2, 5, 4, 6, 8]

PICKS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "before": ({"before": START + timedelta(days=4)}, [1, 2, 4]),
    "before is exclusive": ({"before": START + timedelta(days=4, microseconds=1)}, [1, 2, 4, 6]),
    "before all": ({"before": START}, []),
    "keep_last": ({"keep_last": 3}, [1, 2, 3, 4, 5]),
    "keep_last 0": ({"keep_last": 0}, [1, 2, 3, 4, 5, 6, 7, 8]),
    "keep_last all": ({"keep_last": 8}, []),
    "keep_last more": ({"keep_last": 100}, []),
    "ids": ({"ids": ["id 2", "id 7"]}, [2, 7]),
    "ids twice": ({"ids": ["id 2", "id 2"]}, [2]),
    "unknown ids": ({"ids": ["id 99", "id 3", "none"]}, [3]),
    "no ids": ({"ids": []}, []),
    "before and keep_last": ({"before": START + timedelta(days=5), "keep_last": 4}, [1, 2, 4]),
    "keep_last is not counted after before": ({"before": START + timedelta(days=9), "keep_last": 6}, [1, 2]),
    "ids and before": ({"ids": ["id 1", "id 3", "id 4"], "before": START + timedelta(days=4)}, [1, 4]),
    "ids and keep_last": ({"ids": ["id 1", "id 6", "id 8"], "keep_last": 3}, [1]),
    "all three": (
        {"ids": ["id 1", "id 3", "id 4", "id 6"], "before": START + timedelta(days=4), "keep_last": 5},
        [1],
    ),
}


class RetentionClause:
    """``delete_interactions``."""

    @clause(DELETION, RETENTION, HISTORY, IDEMPOTENT, cases=PICKS)
    async def test_retention_deletes_what_meets_every_criterion(
        self, place: Place, case: tuple[dict[str, Any], list[int]]
    ) -> None:
        """delete_interactions deletes what meets every criterion; `before` is exclusive; the rest keeps its sequences.

        keep_last counts the interactions that exist for that agent, before the other criteria are looked at.

        Look at: criteria joined by or, and keep_last counted among what the others have picked.
        """
        agent, other = place.name("ann"), place.name("bob")
        criteria, gone = case
        for name in (agent, other):
            await _fill(place, name)
        kept = [n for n in range(1, 9) if n not in gone]
        assert await place.storage.delete_interactions(agent, **criteria, dry_run=True) == len(gone)
        assert sequences(await place.log(agent)) == list(range(1, 9)), "a dry run deletes nothing"
        assert await place.storage.delete_interactions(agent, **criteria) == len(gone)
        assert sequences(await place.log(agent)) == kept
        assert sequences(await place.log(agent, reverse=True)) == kept[::-1]
        assert [one["n"] for one in await place.payloads(agent)] == kept
        assert await place.storage.count_interactions(agent) == len(kept)
        for n in gone:
            assert await place.storage.get_interaction(agent, f"id {n}") is None
        assert len(await place.log(other)) == 8, "another agent's log was touched"

    @clause(DELETION, RETENTION, HISTORY, IDEMPOTENT)
    async def test_retention_may_be_repeated(self, place: Place) -> None:
        """delete_interactions may be repeated: the second call finds nothing more to delete.

        Look at: what the count returned counts.
        """
        agent = place.name("ann")
        await _fill(place, agent)
        picks: list[dict[str, Any]] = [
            {"before": START + timedelta(days=3)},
            {"keep_last": 4},
            {"ids": ["id 7"]},
        ]
        for criteria in picks:
            assert await place.storage.delete_interactions(agent, **criteria) > 0
            assert await place.storage.delete_interactions(agent, **criteria) == 0

    @clause(DELETION, RETENTION, HISTORY)
    async def test_keep_last_counts_what_exists(self, place: Place) -> None:
        """keep_last counts existing interactions, whatever holes there are in the sequence.

        Look at: keep_last computed from the head, as head minus keep_last.
        """
        agent = place.name("ann")
        ids = await place.fill(agent, 10)
        await place.storage.delete_interactions(agent, ids=[ids[8], ids[6], ids[5]])
        assert await place.storage.delete_interactions(agent, keep_last=4) == 3
        assert sequences(await place.log(agent)) == [4, 5, 8, 10]
        assert await place.storage.delete_interactions(agent, keep_last=4) == 0

    @clause(DELETION, RETENTION, HISTORY, IDEMPOTENT, alone=True)
    async def test_without_an_agent_retention_is_for_all(self, place: Place) -> None:
        """Without agent_id, delete_interactions is for all agents, and keep_last counts for each by itself.

        Look at: keep_last counted over all agents together.
        """
        names = [place.name(label) for label in ("ann", "bob", "cat")]
        for i, name in enumerate(names):
            await place.fill(name, i + 2)
        assert await place.storage.delete_interactions(keep_last=2, dry_run=True) == 3
        assert await place.storage.delete_interactions(keep_last=2) == 3
        assert [sequences(await place.log(name)) for name in names] == [[1, 2], [2, 3], [3, 4]]
        for name in names:
            await place.storage.store_interaction(name, {}, timestamp=START)
        old = START + timedelta(microseconds=1)
        assert await place.storage.delete_interactions(before=old, dry_run=True) == 3
        assert await place.storage.delete_interactions(before=START) == 0
        assert await place.storage.delete_interactions(before=old) == 3
        assert [sequences(await place.log(name)) for name in names] == [[1, 2], [2, 3], [3, 4]]

    @clause(DELETION, RETENTION, alone=True)  # who gets it wrong deletes everything
    async def test_retention_without_a_criterion_is_refused(self, place: Place) -> None:
        """delete_interactions without any criterion raises ValueError, and nothing is deleted.

        Look at: a missing condition, which means everything.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions(agent)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions()
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions(agent, dry_run=True)
        assert len(await place.payloads(agent)) == 3

    @clause(DELETION, RETENTION, alone=True)  # who gets it wrong deletes everything
    async def test_ids_need_their_agent(self, place: Place) -> None:
        """ids without agent_id raise ValueError, and nothing is deleted.

        Look at: ids looked up over all agents.
        """
        agent = place.name("ann")
        ids = await place.fill(agent, 3)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions(ids=ids)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions(ids=ids, keep_last=0)
        assert len(await place.payloads(agent)) == 3

    @clause(DELETION, RETENTION)
    async def test_a_negative_keep_last_is_refused(self, place: Place) -> None:
        """A negative keep_last raises ValueError, and nothing is deleted.

        Look at: slices and OFFSETs by a negative number.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions(agent, keep_last=-1)
        assert len(await place.payloads(agent)) == 3

    @clause(DELETION, RETENTION, IDEMPOTENT, HISTORY)
    async def test_an_id_lives_as_long_as_its_interaction(self, place: Place) -> None:
        """An id lives as long as its interaction: once deleted, it may be used for something else, appended anew.

        Look at: ids remembered longer than their rows.
        """
        agent = place.name("ann")
        await _fill(place, agent)
        await place.storage.delete_interactions(agent, ids=["id 3"])
        assert await place.storage.store_interaction(agent, {"n": "new"}, interaction_id="id 3") == "id 3"
        one = await (await place.second()).get_interaction(agent, "id 3")
        assert one is not None
        assert (one.sequence, one.data) == (9, {"n": "new"})

    @clause(DELETION, RETENTION, HISTORY)
    async def test_retention_of_a_long_log(self, place: Place) -> None:
        """delete_interactions works in bounded steps, and has done all of them when it returns.

        Look at: the loop over the steps, and the sum of their counts.
        """
        agent = place.name("ann")
        await place.fill(agent, 5_000)
        assert await place.storage.delete_interactions(agent, keep_last=7) == 4_993
        assert sequences(await place.log(agent)) == list(range(4_994, 5_001))
        await place.fill(agent, 1, start=5_001)
        assert sequences(await place.log(agent, after=5_000)) == [5_001]

    @clause(DELETION, RETENTION)
    async def test_retention_touches_no_document(self, place: Place) -> None:
        """Retention is for interactions: states, learning data and system state stay.

        Look at: deletions by the agent's name over all tables.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        await place.storage.store_agent_state(agent, {"kept": 1})
        if place.has(Capability.LEARNING_DATA):
            await place.storage.store_learning_data(agent, "k", {"kept": 2})
        assert await place.storage.delete_interactions(agent, keep_last=0) == 3
        other = await place.second()
        assert await other.get_agent_state(agent) == {"kept": 1}
        if place.has(Capability.LEARNING_DATA):
            assert await other.get_learning_data(agent, "k") == {"kept": 2}

    @clause(DELETION, RETENTION)
    async def test_retention_of_an_unknown_agent(self, place: Place) -> None:
        """Retention of an agent that has nothing deletes nothing and returns 0.

        Look at: lookups that raise for a missing row, key or file.
        """
        agent = place.name("nobody")
        assert await place.storage.delete_interactions(agent, keep_last=0) == 0
        assert await place.storage.delete_interactions(agent, ids=["x"]) == 0
        assert await place.storage.delete_interactions(agent, before=datetime.now(UTC)) == 0


async def _fill(place: Place, agent: str) -> None:
    for n, day in enumerate(DAYS, start=1):
        await place.storage.store_interaction(
            agent, {"n": n}, interaction_id=f"id {n}", timestamp=START + timedelta(days=day)
        )
