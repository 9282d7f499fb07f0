"""Turns: what an agent did in one turn and the state it ended in, together or not at all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place
from oacp_storage_core import (
    Capability,
    DuplicateIdError,
    Interaction,
    InvalidPayloadError,
    Turn,
    VersionConflictError,
)

TURNS = ClauseName.TURNS
TURN, STATE, LEARNING = Capability.TURN, Capability.VERSIONED_STATE, Capability.LEARNING_DATA
IDEMPOTENT, HISTORY = Capability.IDEMPOTENT_APPEND, Capability.HISTORY
WHEN = datetime(2024, 5, 1, 12, tzinfo=UTC)


class TurnsClause:
    """``record_turn``."""

    @clause(TURNS, TURN, STATE, LEARNING, HISTORY)
    async def test_a_turn_stores_everything(self, place: Place) -> None:
        """record_turn stores interactions, state and learning data together, and returns them as a Turn.

        Look at: which parts of the turn are written, and what the Turn is made of.
        """
        agent = place.name("ann")
        await place.fill(agent, 2)
        turn = await place.storage.record_turn(
            agent,
            interactions=[{"n": 3}, _given(agent, "given", 4)],
            state={"step": 1},
            learning={"likes": {"tea": True}, "b": {}},
        )
        assert isinstance(turn, Turn)
        assert turn.replayed is False
        assert [(one.sequence, one.data) for one in turn.interactions] == [(3, {"n": 3}), (4, {"n": 4})]
        assert (turn.interactions[1].id, turn.interactions[1].timestamp) == ("given", WHEN)
        assert turn.state is not None
        assert (turn.state.version, turn.state.data) == (1, {"step": 1})
        assert {key: (doc.key, doc.version, doc.data) for key, doc in turn.learning.items()} == {
            "likes": ("likes", 1, {"tea": True}),
            "b": ("b", 1, {}),
        }
        other = await place.second()
        assert tuple(await place.log(agent, after=2)) == turn.interactions
        assert await other.get_agent_state_document(agent) == turn.state
        assert [await other.get_learning_data_document(agent, key) for key in turn.learning] == [
            *turn.learning.values()
        ]

    @clause(TURNS, TURN, STATE)
    async def test_a_turn_without_state_leaves_the_state(self, place: Place) -> None:
        """state=None leaves the agent's state as it is, in data and version.

        Look at: None written as a state, or taken for a deletion.
        """
        agent = place.name("ann")
        await place.storage.store_agent_state(agent, {"kept": True})
        turn = await place.storage.record_turn(agent, interactions=[{"n": 1}])
        assert turn.state is None
        document = await (await place.second()).get_agent_state_document(agent)
        assert document is not None
        assert (document.version, document.data) == (1, {"kept": True})

    @clause(TURNS, TURN, STATE, LEARNING)
    async def test_a_turn_needs_no_interactions(self, place: Place) -> None:
        """A turn of state or learning data alone is written like any other; it is no replay.

        Look at: "all ids exist" answered with yes for an empty list.
        """
        agent, other = place.name("ann"), await place.second()
        for n in (1, 2):
            turn = await place.storage.record_turn(agent, state={"n": n}, learning={"k": {"n": n}})
            assert (turn.replayed, turn.interactions) == (False, ())
            assert turn.state is not None
            assert (turn.state.version, turn.state.data) == (n, {"n": n})
            assert await other.get_agent_state(agent) == {"n": n}
            assert await other.get_learning_data(agent, "k") == {"n": n}
        assert await place.payloads(agent) == []

    @clause(TURNS, TURN, STATE, LEARNING)
    async def test_a_conflict_stores_nothing_of_the_turn(self, place: Place) -> None:
        """expected_version that does not fit raises VersionConflictError, and no part of the turn is stored.

        Look at: interactions or learning data written before the state is compared.
        """
        agent = place.name("ann")
        await place.storage.store_agent_state(agent, {"n": 1})
        await place.storage.store_learning_data(agent, "k", {"n": 1})
        for expected in (0, 2, 9):
            with pytest.raises(VersionConflictError) as caught:
                await place.storage.record_turn(
                    agent,
                    interactions=[{"n": 1}, {"n": 2}],
                    state={"n": 2},
                    expected_version=expected,
                    learning={"k": {"n": 2}, "new": {}},
                )
            assert (caught.value.expected, caught.value.actual) == (expected, 1)
        other = await place.second()
        assert await place.payloads(agent) == []
        assert await other.get_agent_state(agent) == {"n": 1}
        assert [(doc.key, doc.version, doc.data) for doc in await other.list_learning_data(agent)] == [
            ("k", 1, {"n": 1})
        ]
        turn = await place.storage.record_turn(
            agent, interactions=[{"n": 3}], state={"n": 2}, expected_version=1
        )
        assert turn.state is not None
        assert turn.state.version == 2
        assert [one.sequence for one in turn.interactions] == [1]

    @clause(TURNS, TURN)
    async def test_an_expected_version_needs_a_state(self, place: Place) -> None:
        """expected_version without state raises ValueError, and nothing is stored.

        Look at: the check of record_turn's arguments.
        """
        agent = place.name("ann")
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.record_turn(agent, interactions=[{"n": 1}], expected_version=0)
        assert await place.payloads(agent) == []

    @clause(TURNS, TURN, LEARNING)
    async def test_learning_is_put_unconditionally(self, place: Place) -> None:
        """The learning data of a turn replaces what is there, whatever its version, and its version grows by 1.

        Look at: expected_version of the turn applied to learning data too.
        """
        agent = place.name("ann")
        for n in range(4):
            await place.storage.store_learning_data(agent, "k", {"n": n})
        turn = await place.storage.record_turn(
            agent, state={}, expected_version=0, learning={"k": {"n": "turn"}, "new": {"n": 0}}
        )
        assert {key: doc.version for key, doc in turn.learning.items()} == {"k": 5, "new": 1}
        assert await (await place.second()).get_learning_data(agent, "k") == {"n": "turn"}

    @clause(TURNS, TURN, IDEMPOTENT, STATE, LEARNING, HISTORY)
    async def test_a_repeated_turn_changes_nothing(self, place: Place) -> None:
        """If every interaction has a given id and all exist with the same payloads, nothing is written: replayed=True.

        The repeated turn has an expected_version that no longer fits, as it has when a caller repeats a turn
        whose reply was lost; that is no conflict.

        Look at: the order of the checks: the ids come before the version of the state.
        """
        agent, other = place.name("ann"), await place.second()
        interactions = [_given(agent, "a", 1), _given(agent, "b", 2)]
        arguments: dict[str, Any] = {
            "interactions": interactions, "state": {"n": 1}, "expected_version": 0, "learning": {"k": {"n": 1}}
        }  # fmt: skip
        first = await place.storage.record_turn(agent, **arguments)
        assert first.replayed is False
        await place.storage.store_agent_state(agent, {"n": "later"})
        await place.storage.store_learning_data(agent, "k", {"n": "later"})
        await place.storage.store_interaction(agent, {"n": "later"})
        for storage in (place.storage, other):
            again = await storage.record_turn(agent, **arguments)
            assert again.replayed is True
            assert again.interactions == first.interactions
            assert again.state is not None
            assert (again.state.version, again.state.data) == (2, {"n": "later"}), "state as it is now"
        assert [one.data["n"] for one in await place.log(agent)] == [1, 2, "later"]
        assert await other.get_agent_state(agent) == {"n": "later"}
        assert await other.get_learning_data(agent, "k") == {"n": "later"}

    @clause(TURNS, TURN, IDEMPOTENT, STATE)
    async def test_a_turn_of_which_a_part_exists_is_refused(self, place: Place) -> None:
        """If only some of the given ids exist, DuplicateIdError, and nothing of the turn is stored.

        Look at: turns that append what is missing, as batches do.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 1}, interaction_id="a", timestamp=WHEN)
        turns: list[list[Any]] = [
            [_given(agent, "a", 1), _given(agent, "b", 2)],
            [_given(agent, "b", 2), _given(agent, "a", 1)],
            [_given(agent, "a", 1), {"n": "without an id"}],
        ]
        for interactions in turns:
            with pytest.raises(DuplicateIdError):
                await place.storage.record_turn(agent, interactions=interactions, state={"n": 2})
        assert await place.payloads(agent) == [{"n": 1}]
        assert await (await place.second()).get_agent_state(agent) is None

    @clause(TURNS, TURN, IDEMPOTENT, STATE)
    async def test_a_turn_with_a_taken_id_is_refused(self, place: Place) -> None:
        """An id of the turn that exists with another payload is a DuplicateIdError, and nothing is stored.

        Look at: replays decided by ids alone.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 1}, interaction_id="a", timestamp=WHEN)
        with pytest.raises(DuplicateIdError):
            await place.storage.record_turn(agent, interactions=[_given(agent, "a", 1.0)], state={"n": 2})
        assert repr(await place.payloads(agent)) == repr([{"n": 1}])
        assert await (await place.second()).get_agent_state(agent) is None

    @clause(TURNS, TURN, STATE, LEARNING)
    async def test_a_turn_with_a_bad_payload_stores_nothing(self, place: Place) -> None:
        """A turn with one payload that is refused stores nothing: neither interactions, nor state, nor learning data.

        Look at: whether all payloads are checked before the first is written.
        """
        agent, other = place.name("ann"), await place.second()
        bad = {"n": float("inf")}
        turns: list[dict[str, Any]] = [
            {"interactions": [{"n": 1}, bad], "state": {"n": 1}, "learning": {"k": {}}},
            {"interactions": [{"n": 1}], "state": bad, "learning": {"k": {}}},
            {"interactions": [{"n": 1}], "state": {"n": 1}, "learning": {"k": {}, "l": bad}},
        ]
        for turn in turns:
            with pytest.raises(InvalidPayloadError):
                await place.storage.record_turn(agent, **turn)
        assert await place.payloads(agent) == []
        assert await other.get_agent_state(agent) is None
        assert await other.list_learning_data(agent) == []

    @clause(TURNS, TURN, STATE)
    async def test_nobody_sees_half_a_turn(self, place: Place) -> None:
        """Others see a turn as a whole: never its interactions without its state, nor its state without them.

        Look at: turns written in several steps, each of which can be seen.
        """
        agent, other, turns = place.name("ann"), await place.second(), 40
        ended = asyncio.Event()

        async def work() -> None:
            for n in range(1, turns + 1):
                await place.storage.record_turn(agent, interactions=[{"n": n}, {"n": n}], state={"n": n})
            ended.set()

        async def look() -> None:
            while not ended.is_set():
                state = (await other.get_agent_state(agent) or {"n": 0})["n"]
                seen = await other.get_interactions(agent, 2 * turns)
                assert len(seen) >= 2 * state, f"state {state} was seen before the interactions of its turn"
                assert len(seen) % 2 == 0, "half of a turn's interactions were seen"
                done = (await other.get_agent_state(agent) or {"n": 0})["n"]
                assert done >= len(seen) // 2, "interactions were seen before the state of their turn"
                await asyncio.sleep(0)

        await asyncio.gather(work(), look())

    @clause(TURNS, TURN, STATE, HISTORY)
    async def test_of_turns_at_once_on_one_state_one_wins(self, place: Place) -> None:
        """Of many turns at once that expect the same version, one is stored whole, the others not at all.

        Look at: the time between comparing the version and writing; only the store can close it.
        """
        agent = place.name("ann")
        storages = (place.storage, await place.second())
        calls = [
            storages[i % 2].record_turn(
                agent, interactions=[{"by": i}, {"by": i}], state={"by": i}, expected_version=0
            )
            for i in range(10)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        won = [i for i, result in enumerate(results) if isinstance(result, Turn)]
        assert len(won) == 1, results
        assert sum(isinstance(result, VersionConflictError) for result in results) == 9, results
        assert [(one.sequence, one.data["by"]) for one in await place.log(agent)] == [
            (1, won[0]),
            (2, won[0]),
        ]
        assert await storages[1].get_agent_state(agent) == {"by": won[0]}


def _given(agent: str, label: str, n: float) -> Interaction:
    return Interaction(agent, label, 0, WHEN, {"n": n})
