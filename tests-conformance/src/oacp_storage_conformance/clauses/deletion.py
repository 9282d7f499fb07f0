"""Deletion: ``delete_agent``, and what an agent's list knows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place, collect, sequences
from oacp_storage_core import Capability, Deletion

DELETION = ClauseName.DELETION
AGENTS, HISTORY, STATE = Capability.AGENTS, Capability.HISTORY, Capability.VERSIONED_STATE
WHEN = datetime(2024, 5, 1, 12, tzinfo=UTC)

FIRST_WRITES: dict[str, tuple[Capability, ...]] = {
    "an interaction": (),
    "a batch": (Capability.BATCH_APPEND,),
    "a state": (),
    "learning data": (Capability.LEARNING_DATA,),
    "a turn": (Capability.TURN,),
}


class _Write:
    """One way in which an agent may be written to for the first time."""

    def __init__(self, how: str, needs: tuple[Capability, ...]) -> None:
        self.how = how
        self.needs = needs

    async def __call__(self, place: Place, agent: str) -> None:
        storage = place.storage
        if self.how == "an interaction":
            await storage.store_interaction(agent, {})
        elif self.how == "a batch":
            await storage.store_interactions(agent, [{}, {}])
        elif self.how == "a state":
            await storage.store_agent_state(agent, {})
        elif self.how == "learning data":
            await storage.store_learning_data(agent, "k", {})
        else:
            await storage.record_turn(agent, state={})


class DeletionClause:
    """Agents are listed from their first write until they are deleted."""

    @clause(DELETION, AGENTS, cases={how: _Write(how, needs) for how, needs in FIRST_WRITES.items()})
    async def test_an_agent_is_listed_from_its_first_write(self, place: Place, case: _Write) -> None:
        """An agent is listed from its first write, of whatever kind, until delete_agent.

        Look at: lists of agents that are derived from one kind of data only.
        """
        agent = place.name("ann")
        assert await place.storage.list_agents(prefix=agent) == []
        await case(place, agent)
        assert await place.storage.list_agents(prefix=agent) == [agent]
        assert await (await place.second()).list_agents(prefix=agent) == [agent]
        await case(place, agent)
        assert await place.storage.list_agents(prefix=agent) == [agent]
        await place.storage.delete_agent(agent)
        assert await (await place.second()).list_agents(prefix=agent) == []

    @clause(DELETION, AGENTS)
    async def test_reading_lists_no_agent(self, place: Place) -> None:
        """Reading makes no agent: one that was only asked for is not listed.

        Look at: rows, keys or files that reading creates.
        """
        agent = place.name("ann")
        await place.storage.get_interactions(agent)
        await place.storage.get_agent_state(agent)
        if place.has(HISTORY):
            await collect(place.storage.iter_interactions(agent))
            await place.storage.count_interactions(agent)
        if place.has(Capability.LEARNING_DATA):
            await place.storage.get_learning_data(agent, "k")
            await place.storage.delete_learning_data(agent, "k")
        if place.has(STATE):
            await place.storage.delete_agent_state(agent)
            await place.storage.update_agent_state(agent, lambda _data: None)
        if place.has(Capability.RETENTION):
            await place.storage.delete_interactions(agent, keep_last=0)
        assert await (await place.second()).list_agents(prefix=agent) == []

    @clause(DELETION, AGENTS, Capability.RETENTION)
    async def test_an_empty_agent_stays_listed(self, place: Place) -> None:
        """An agent stays listed until delete_agent, whatever retention and deletions removed.

        Look at: lists of agents that are derived from the rows that exist.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        await place.storage.store_agent_state(agent, {})
        if place.has(Capability.LEARNING_DATA):
            await place.storage.store_learning_data(agent, "k", {})
            await place.storage.delete_learning_data(agent, "k")
        await place.storage.delete_interactions(agent, keep_last=0)
        if place.has(STATE):
            await place.storage.delete_agent_state(agent)
        assert await place.payloads(agent) == []
        assert await (await place.second()).list_agents(prefix=agent) == [agent]

    @clause(DELETION, AGENTS)
    async def test_delete_agent_removes_everything_and_counts_it(self, place: Place) -> None:
        """delete_agent removes everything of that agent and returns how much of each kind it was.

        Look at: which kinds of data delete_agent knows, and what Deletion counts.
        """
        agent, other = place.name("ann"), await place.second()
        ids = await place.fill(agent, 7)
        await place.storage.store_agent_state(agent, {"n": 1})
        learning = 0
        if place.has(Capability.LEARNING_DATA):
            for key in ("a", "b", "c"):
                await place.storage.store_learning_data(agent, key, {})
            learning = 3
        deleted = await place.storage.delete_agent(agent)
        assert deleted == Deletion(agent, interactions=7, states=1, learning=learning)
        for storage in (place.storage, other):
            assert await storage.get_interactions(agent) == []
            assert await storage.get_agent_state(agent) is None
            assert await storage.list_agents(prefix=agent) == []
            if place.has(HISTORY):
                assert await collect(storage.iter_interactions(agent)) == []
                assert await storage.count_interactions(agent) == 0
                assert await storage.get_interaction(agent, ids[0]) is None
            if place.has(Capability.LEARNING_DATA):
                assert await storage.list_learning_data(agent) == []
                assert await storage.get_learning_data(agent, "a") is None
        again = await place.storage.delete_agent(agent)
        assert not again
        assert again == Deletion(agent, interactions=0, states=0, learning=0)

    @clause(DELETION, AGENTS)
    async def test_delete_agent_touches_nobody_else(self, place: Place) -> None:
        """delete_agent leaves every other agent and all system state as they are.

        Look at: deletions by prefix or pattern of a key.
        """
        agent = place.name("ann")
        others = [
            place.name(label) for label in ("anna", "an", "ANN", "ann ", "ann:", "ann/x", "ann%", "bob")
        ]
        for name in (agent, *others):
            await place.fill(name, 2)
            await place.storage.store_agent_state(name, {"of": name})
            if place.has(Capability.LEARNING_DATA):
                await place.storage.store_learning_data(name, "k", {"of": name})
        if place.has(Capability.SYSTEM_STATE):
            await place.storage.store_system_state(agent, {"of": "system"})
        assert await place.storage.delete_agent(agent)
        other = await place.second()
        for name in others:
            assert await other.get_interactions(name) == [{"n": 1}, {"n": 2}], name
            assert await other.get_agent_state(name) == {"of": name}
            if place.has(Capability.LEARNING_DATA):
                assert await other.get_learning_data(name, "k") == {"of": name}
        if place.has(Capability.SYSTEM_STATE):
            assert await other.get_system_state(agent) == {"of": "system"}

    @clause(DELETION, AGENTS, HISTORY)
    async def test_a_recreated_agent_goes_on_from_its_last_sequence(self, place: Place) -> None:
        """A re-created agent's log goes on after the last sequence it had, so that cursors stay valid.

        Look at: what delete_agent leaves behind (the last sequence), and whether it survives a restart.
        """
        agent = place.name("ann")
        for last in (4, 5):
            await place.fill(agent, last)
            head = (await place.log(agent))[-1].sequence
            await place.storage.delete_agent(agent)
            await place.reopen()
            await place.fill(agent, 2)
            assert sequences(await place.log(agent)) == [head + 1, head + 2]
            assert sequences(await place.log(agent, after=head)) == [head + 1, head + 2]

    @clause(DELETION, AGENTS, HISTORY, Capability.RETENTION)
    async def test_the_last_sequence_counts_what_retention_removed(self, place: Place) -> None:
        """A re-created agent goes on after its last sequence even if retention had removed that interaction.

        Look at: the head taken from the rows that exist when the agent is deleted.
        """
        agent = place.name("ann")
        await place.fill(agent, 6)
        await place.storage.delete_interactions(agent, keep_last=0)
        await place.storage.delete_agent(agent)
        await place.fill(agent, 1)
        assert sequences(await place.log(agent)) == [7]

    @clause(DELETION, AGENTS)
    async def test_documents_of_a_recreated_agent_start_at_one(self, place: Place) -> None:
        """delete_agent keeps only the last sequence: documents of a re-created agent start at version 1.

        Look at: documents that are marked as deleted instead of removed.
        """
        agent = place.name("ann")
        for _ in range(2):
            if place.has(STATE):
                assert await place.storage.store_agent_state(agent, {"n": 1}, expected_version=0) == 1
                assert await place.storage.store_agent_state(agent, {"n": 2}) == 2
            if place.has(Capability.LEARNING_DATA):
                assert await place.storage.store_learning_data(agent, "k", {}, expected_version=0) == 1
            await place.storage.store_interaction(agent, {})
            assert await place.storage.delete_agent(agent)

    @clause(DELETION, AGENTS, Capability.IDEMPOTENT_APPEND)
    async def test_ids_of_a_deleted_agent_are_free_again(self, place: Place) -> None:
        """An id lives as long as its interaction: after delete_agent it may stand for something else.

        Look at: tables of ids that delete_agent leaves behind.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 1}, interaction_id="one")
        await place.storage.delete_agent(agent)
        assert await place.storage.store_interaction(agent, {"n": 2}, interaction_id="one") == "one"
        assert await place.payloads(agent) == [{"n": 2}]

    @clause(DELETION, AGENTS, HISTORY)
    async def test_delete_agent_hides_everything_at_once(self, place: Place) -> None:
        """delete_agent hides everything at once: others see all of the agent or nothing, however long erasing takes.

        Look at: erasing step by step while readers see what is left.
        """
        agent, count = place.name("ann"), 3_000
        await place.fill(agent, count)
        await place.storage.store_agent_state(agent, {})
        other, seen = await place.second(), set()
        deletion = asyncio.ensure_future(place.storage.delete_agent(agent))
        while not deletion.done():
            seen.add(await other.count_interactions(agent))
            seen.add(len(await other.get_interactions(agent, count)))
            await asyncio.sleep(0)
        assert (await deletion).interactions == count
        assert seen <= {0, count}, f"parts of a deleted agent were seen: {sorted(seen)}"
        assert await other.count_interactions(agent) == 0

    @clause(DELETION, AGENTS)
    async def test_appends_during_a_deletion_are_not_lost(self, place: Place) -> None:
        """What is acknowledged after delete_agent has hidden the agent is there afterwards: it belongs to a new one.

        Look at: erasing by name in the background, which removes what came after.
        """
        agent = place.name("ann")
        await place.fill(agent, 1_000)
        storages = (place.storage, await place.second())
        deletion = asyncio.ensure_future(place.storage.delete_agent(agent))
        calls: list[Any] = []
        for n in range(30):
            await storages[n % 2].store_interaction(agent, {"n": n})
            calls.append(n)
        deleted = (await deletion).interactions
        left = [one["n"] for one in await place.payloads(agent)]
        assert deleted + len(left) == 1_030, f"{deleted} deleted and {len(left)} left of 1030 acknowledged"
        assert left == calls[len(calls) - len(left) :], "what is left must be what came last"
