"""Order: each agent's log counts 1, 2, 3 ..., and its order is that of commit."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_core import Capability

ORDER = ClauseName.ORDER


class OrderClause:
    """The order of one agent's log."""

    @clause(ORDER)
    async def test_interactions_come_back_oldest_first(self, place: Place) -> None:
        """get_interactions returns the interactions of one agent in the order in which they were stored.

        Look at: the column or key by which get_interactions sorts; it must be the order of commit.
        """
        agent = place.name("ann")
        for n in range(12):  # past 9, where text would sort 10 before 2
            await place.storage.store_interaction(agent, {"n": n})
        expected = [{"n": n} for n in range(12)]
        assert await place.storage.get_interactions(agent) == expected
        assert await place.payloads(agent) == expected

    @clause(ORDER)
    async def test_get_interactions_returns_the_newest_limit(self, place: Place) -> None:
        """get_interactions returns the newest `limit` interactions, oldest of them first.

        Look at: which end of the log the limit cuts, and whether it cuts before or after turning the order.
        """
        agent = place.name("ann")
        await place.fill(agent, 7)
        for limit in (1, 3, 6, 7, 8, 1000):
            expected = [{"n": n} for n in range(1, 8)][-limit:]
            assert await place.storage.get_interactions(agent, limit) == expected, f"limit={limit}"
            assert await place.storage.get_interactions(agent, limit=limit) == expected, f"limit={limit}"

    @clause(ORDER)
    async def test_get_interactions_returns_a_hundred_unless_told(self, place: Place) -> None:
        """The default of limit is 100: the newest 100 interactions.

        Look at: the default in the signature of get_interactions.
        """
        agent = place.name("ann")
        await place.fill(agent, 103)
        assert await place.storage.get_interactions(agent) == [{"n": n} for n in range(4, 104)]

    @clause(ORDER)
    async def test_a_limit_of_zero_returns_nothing(self, place: Place) -> None:
        """limit=0 gives [].

        Look at: `[-limit:]`, which is everything when limit is 0, and LIMIT clauses left out when it is falsy.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        assert await place.storage.get_interactions(agent, 0) == []

    @clause(ORDER)
    async def test_a_negative_limit_is_refused(self, place: Place) -> None:
        """A negative limit raises ValueError, whether the agent has interactions or not.

        Look at: the check of limit; a database may take a negative limit for none.
        """
        agent = place.name("ann")
        for _ in range(2):
            with pytest.raises(ValueError, match=r"\S"):
                await place.storage.get_interactions(agent, -1)
            await place.fill(agent, 2)

    @clause(ORDER)
    async def test_an_unknown_agent_has_no_interactions(self, place: Place) -> None:
        """An agent that was never written to has no interactions and no state: [] and None, no error.

        Look at: lookups that raise for a missing row, key or file.
        """
        assert await place.storage.get_interactions(place.name("nobody")) == []
        assert await place.storage.get_agent_state(place.name("nobody")) is None

    @clause(ORDER)
    async def test_agents_have_logs_of_their_own(self, place: Place) -> None:
        """Each agent has a log of its own: what one stores, no other gets.

        Look at: how the agent's id enters keys and conditions; a prefix match finds "ann" in "anna".
        """
        names = [place.name(label) for label in ("ann", "anna", "an", "ann:1", "ann/1", "bob")]
        for n in range(3):
            for name in names:
                await place.storage.store_interaction(name, {"of": name, "n": n})
        for name in names:
            assert await place.payloads(name) == [{"of": name, "n": n} for n in range(3)]

    @clause(ORDER)
    async def test_a_clock_that_runs_backwards_changes_no_order(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The order of a log is the order of commit, never that of clocks.

        Look at: sorting by timestamp, or by ids that begin with one (UUIDv7, ULID, ObjectId).
        """
        agent = place.name("ann")
        real_ns, real = time.time_ns, time.time
        hours = 0

        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: real_ns() - hours * 3_600_000_000_000)
            patch.setattr(time, "time", lambda: real() - hours * 3600)
            for n in range(6):
                hours = n
                await place.storage.store_interaction(agent, {"n": n})
            assert await place.storage.get_interactions(agent) == [{"n": n} for n in range(6)]
            assert await place.storage.get_interactions(agent, 2) == [{"n": 4}, {"n": 5}]
        assert await place.payloads(agent) == [{"n": n} for n in range(6)]

    @clause(ORDER, Capability.IDEMPOTENT_APPEND)
    async def test_given_timestamps_and_ids_change_no_order(self, place: Place) -> None:
        """Neither given timestamps nor given ids decide about the order: it is the order of commit.

        Look at: sorting by timestamp or by id.
        """
        agent = place.name("ann")
        start = datetime(2024, 5, 1, tzinfo=UTC)
        for n, label in enumerate(["zz", "mm", "aa", "nn", "10", "9"]):
            await place.storage.store_interaction(
                agent, {"n": n}, interaction_id=label, timestamp=start - timedelta(days=n)
            )
        assert await place.payloads(agent) == [{"n": n} for n in range(6)]

    @clause(ORDER)
    async def test_calls_commit_in_call_order(self, place: Place) -> None:
        """Calls through one storage for one agent commit in call order, also when nobody awaits in between.

        Look at: pools that give two calls for one agent to two connections or threads at once.
        """
        agent, other = place.name("ann"), place.name("bob")
        calls = [
            asyncio.ensure_future(place.storage.store_interaction(name, {"n": n}))
            for n in range(60)
            for name in (agent, other)
        ]
        await asyncio.gather(*calls)
        for name in (agent, other):
            assert await place.payloads(name) == [{"n": n} for n in range(60)]

    @clause(ORDER, Capability.HISTORY)
    async def test_sequences_count_from_one(self, place: Place) -> None:
        """Each agent's log has sequence 1, 2, 3 ..., assigned by the store without gaps.

        Look at: counters shared by agents, and counters that begin at 0.
        """
        for name in (place.name("ann"), place.name("bob")):
            for n in range(1, 6):
                await place.storage.store_interaction(name, {"n": n})
            log = await place.log(name)
            assert [(one.sequence, one.data["n"]) for one in log] == [(n, n) for n in range(1, 6)]
            assert {one.agent_id for one in log} == {name}

    @clause(ORDER, Capability.HISTORY)
    async def test_failed_calls_use_up_no_sequence(self, place: Place) -> None:
        """Sequences have no gaps: a call that is refused uses none up.

        Look at: counters raised before all checks are done, and database sequences, which never roll back.
        """
        agent = place.name("ann")
        await place.fill(agent, 2)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.store_interaction(agent, {"n": float("nan")})
        if place.has(Capability.BATCH_APPEND):
            with pytest.raises(ValueError, match=r"\S"):
                await place.storage.store_interactions(agent, [{"n": 3}, {"n": float("nan")}])
        await place.fill(agent, 1, start=3)
        assert [(one.sequence, one.data) for one in await place.log(agent)] == [
            (n, {"n": n}) for n in (1, 2, 3)
        ]

    @clause(ORDER, Capability.BATCH_APPEND, Capability.HISTORY)
    async def test_batches_and_single_calls_commit_in_call_order(self, place: Place) -> None:
        """Batches and single appends for one agent commit in call order, each batch without a gap in it.

        Look at: a second way into the store for batches that overtakes the first.
        """
        agent, n = place.name("ann"), 0
        calls = []
        for size in (1, 5, 1, 1, 17, 2, 1, 40, 1):
            batch = [{"n": n + i} for i in range(size)]
            n += size
            if size == 1:
                calls.append(asyncio.ensure_future(place.storage.store_interaction(agent, batch[0])))
            else:
                calls.append(asyncio.ensure_future(place.storage.store_interactions(agent, batch)))  # type: ignore[arg-type]  # the results differ in type
        await asyncio.gather(*calls)
        assert [(one.sequence, one.data["n"]) for one in await place.log(agent)] == [
            (i + 1, i) for i in range(n)
        ]

    @clause(ORDER, Capability.VERSIONED_STATE)
    async def test_states_are_stored_in_call_order(self, place: Place) -> None:
        """Calls through one storage for one agent commit in call order: of several states, the last stays.

        Look at: documents that are written on another path than the log, without waiting for each other.
        """
        agent = place.name("ann")
        calls = [asyncio.ensure_future(place.storage.store_agent_state(agent, {"n": n})) for n in range(40)]
        assert await asyncio.gather(*calls) == list(range(1, 41))
        document = await (await place.second()).get_agent_state_document(agent)
        assert document is not None
        assert (document.version, document.data) == (40, {"n": 39})

    @clause(ORDER, Capability.TURN, Capability.HISTORY, Capability.VERSIONED_STATE)
    async def test_turns_commit_in_call_order_with_everything_else(self, place: Place) -> None:
        """Turns, appends and states of one agent commit in the order in which they were called.

        Look at: turns that take another way into the store than single appends.
        """
        agent, storage = place.name("ann"), place.storage
        calls: list[asyncio.Future[object]] = []
        for n in range(0, 30, 3):
            calls += [
                asyncio.ensure_future(storage.store_interaction(agent, {"n": n})),
                asyncio.ensure_future(
                    storage.record_turn(agent, interactions=[{"n": n + 1}, {"n": n + 2}], state={"n": n + 2})
                ),
            ]
        await asyncio.gather(*calls)
        assert [(one.sequence, one.data["n"]) for one in await place.log(agent)] == [
            (i + 1, i) for i in range(30)
        ]
        document = await (await place.second()).get_agent_state_document(agent)
        assert document is not None
        assert (document.version, document.data) == (10, {"n": 29})

    @clause(ORDER, Capability.RETENTION, Capability.HISTORY)
    async def test_deleting_leaves_holes_and_frees_no_sequence(self, place: Place) -> None:
        """Sequences are never reused: deleting leaves holes, even when the newest goes or the log gets empty.

        Look at: the next sequence taken as max(sequence) + 1 or as a count of what exists.
        """
        agent = place.name("ann")
        ids = await place.fill(agent, 5)
        assert await place.storage.delete_interactions(agent, ids=[ids[1], ids[4]]) == 2
        assert sequences(await place.log(agent)) == [1, 3, 4]
        await place.fill(agent, 1, start=6)
        assert sequences(await place.log(agent)) == [1, 3, 4, 6]
        assert await place.storage.delete_interactions(agent, keep_last=0) == 4
        await place.fill(agent, 2, start=7)
        assert [(one.sequence, one.data) for one in await place.log(agent)] == [(7, {"n": 7}), (8, {"n": 8})]
