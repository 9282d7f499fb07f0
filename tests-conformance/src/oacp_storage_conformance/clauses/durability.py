"""Acknowledged means durable: what a call returned survives the process, however that ends."""

from __future__ import annotations

import asyncio
from typing import Any

from oacp_storage_conformance.clause import ClauseName, Trait, clause
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_conformance.workers import worker
from oacp_storage_core import Capability, Document

DURABILITY, TURNS = ClauseName.DURABILITY, ClauseName.TURNS
BATCHES, DELETION = ClauseName.BATCHES, ClauseName.DELETION
DURABLE, MULTIPROCESS = Trait.DURABLE, Trait.MULTIPROCESS


class DurabilityClause:
    """What is there after ``close()``, and after ``kill -9``."""

    @clause(DURABILITY, DURABLE)
    async def test_everything_is_there_after_a_restart(self, place: Place) -> None:
        """What was acknowledged is there, unchanged, when all storages are closed and a new one is opened.

        Look at: what close() writes, and what open() rebuilds.
        """
        agent, key = place.name("ann"), place.name("key")
        writes = _writes(place, agent, key)
        for method, arguments, keywords in writes:
            await getattr(place.storage, method)(*arguments, **keywords)
        before = await _look(place, agent, key)
        for _ in range(2):
            await place.reopen()
            assert await _look(place, agent, key) == before

    @clause(DURABILITY, DURABLE)
    async def test_everything_is_there_after_a_kill(self, place: Place) -> None:
        """What was acknowledged survives kill -9 of the process, for every kind of data.

        Look at: data that waits in memory (buffers, queues, timers) when the call returns.
        """
        setting = place.setting
        agent, key = place.name("ann"), place.name("key")
        writes = _writes(place, agent, key)
        await place.close_all()  # a store for one process at a time is the worker's now
        async with worker(setting.plain_source, setting.options, "write_once", writes=writes) as writing:
            await writing.opened()
            assert await writing.hear() == "written"
            await writing.kill()
        await place.reopen()
        control = place.name("control")
        for method, arguments, keywords in _writes(place, control, place.name("control key")):
            await getattr(place.storage, method)(*arguments, **keywords)
        assert await _look(place, agent, key) == await _look(place, control, place.name("control key"))

    @clause(DURABILITY, DURABLE, MULTIPROCESS)
    async def test_writes_of_killed_processes_are_whole(self, place: Place) -> None:
        """A process killed at any moment leaves every acknowledged append, once and in order, and blocks nobody.

        Look at: locks that a dead owner holds, and torn tails: cut back to the last whole record before appending.
        """
        agents, acknowledged = [place.name("ann"), place.name("bob")], 0
        setting = place.setting
        arguments: dict[str, Any] = {"agents": agents, "tasks": 8, "seconds": 60, "count": 10**9}
        said: list[list[Any]] = []
        for by, after in enumerate((1, 7, 31)):
            async with worker(setting.plain_source, setting.options, "append", by=by, **arguments) as one:
                await one.opened()
                for _ in range(after):
                    await one.hear()
                said += await one.kill()
            acknowledged = len(said)
            await place.storage.store_interaction(agents[0], {"by": "parent", "task": 0, "n": by})
        assert acknowledged >= 39
        stored = [
            [agent, one["by"], one["task"], one["n"]]
            for agent in agents
            for one in await place.payloads(agent)
        ]
        for append in said:
            assert stored.count(append) == 1, (
                f"acknowledged, but stored {stored.count(append)} times: {append}"
            )
        for agent in agents:
            for writer in (0, 1, 2, "parent"):
                for task in range(8):
                    order = [n for a, b, t, n in stored if (a, b, t) == (agent, writer, task)]
                    assert order == list(range(len(order))), f"{agent}, task {task} of {writer}: {order}"

    @clause(BATCHES, Capability.BATCH_APPEND, DURABLE)
    async def test_batches_of_killed_processes_are_whole(self, place: Place) -> None:
        """A batch is all or nothing also when its process is killed in the middle of it.

        Look at: whether a batch becomes visible by one step.
        """
        setting = place.setting
        agent, size = place.name("ann"), 40
        await place.close_all()
        acknowledged = 0
        for after in (1, 2, 5):
            async with worker(
                setting.plain_source, setting.options, "batches", agent=agent, size=size
            ) as one:
                await one.opened()
                for _ in range(after):
                    await one.hear()
                acknowledged += len(await one.kill())
        await place.reopen()
        stored = await place.payloads(agent, 10**6)
        assert len(stored) % size == 0, f"{len(stored)} stored: half a batch"
        assert acknowledged <= len(stored) // size <= acknowledged + 3
        for start in range(0, len(stored), size):
            assert stored[start : start + size] == [stored[start]] * size

    @clause(TURNS, Capability.TURN, Capability.VERSIONED_STATE, Capability.LEARNING_DATA, DURABLE)
    async def test_turns_of_killed_processes_are_whole(self, place: Place) -> None:
        """A turn is together or not at all also when its process is killed in the middle of it.

        Look at: whether interactions, state and learning data become visible by one step.
        """
        setting = place.setting
        names = [place.name(f"ann {n}") for n in range(4)]
        await place.close_all()
        acknowledged = []
        for agent, after in zip(names, (1, 2, 5, 9), strict=True):
            async with worker(setting.plain_source, setting.options, "turns", agent=agent) as one:
                await one.opened()
                for _ in range(after):
                    await one.hear()
                acknowledged.append(len(await one.kill()))
        await place.reopen()
        for agent, count in zip(names, acknowledged, strict=True):
            stored = [one["turn"] for one in await place.payloads(agent)]
            state = await place.storage.get_agent_state_document(agent)
            learned = await place.storage.get_learning_data_document(agent, "turn")
            assert state is not None
            assert learned is not None
            turns = state.version
            assert count <= turns <= count + 1, f"{count} turns were acknowledged, {turns} are stored"
            assert stored == [n for n in range(1, turns + 1) for _ in range(3)]
            assert (state.data, learned.data, learned.version) == ({"turn": turns}, {"turn": turns}, turns)

    @clause(DELETION, Capability.AGENTS, Capability.HISTORY, DURABLE)
    async def test_an_interrupted_deletion_is_completed(self, place: Place) -> None:
        """delete_agent of a killed process has deleted nothing yet, or the next open completes it: never a part.

        Look at: what open() finds of an erasure that was begun.
        """
        setting = place.setting
        for n, after in enumerate((0, 0.002, 0.01, 0.03)):
            agent, count = place.name(f"ann {n}"), 2_500
            await place.fill(agent, count)
            await place.storage.store_agent_state(agent, {"kept": True})
            await place.close_all()
            async with worker(setting.plain_source, setting.options, "delete", agent=agent) as deleting:
                await deleting.opened()
                await deleting.hear()
                await asyncio.sleep(after)  # any moment will do: whenever it dies, the result is one of two
                finished = len(await deleting.kill()) == 2
            await place.reopen()
            left = await place.storage.count_interactions(agent)
            listed = agent in await place.storage.list_agents(prefix=agent)
            state = await place.storage.get_agent_state(agent)
            whole = (left, listed, state) == (count, True, {"kept": True})
            gone = (left, listed, state) == (0, False, None)
            assert gone or (whole and not finished), f"{left} of {count} left, listed: {listed}, {state}"
            await place.fill(agent, 1)
            assert sequences(await place.log(agent))[-1] == count + 1


def _writes(place: Place, agent: str, key: str) -> list[list[Any]]:
    """Writes of every kind that the storage declares: method, arguments, keyword arguments."""
    has = place.has
    writes: list[list[Any]] = [
        ["store_interaction", [agent, {"n": 1}], {}],
        ["store_interaction", [agent, {"n": 2}], {}],
        ["store_agent_state", [agent, {"n": 1}], {}],
        ["store_agent_state", [agent, {"n": 2, "z": [1.0, "\0"], "a": 2**70}], {}],
    ]
    if has(Capability.BATCH_APPEND):
        writes.append(["store_interactions", [agent, [{"n": n} for n in range(3, 8)]], {}])
    if has(Capability.IDEMPOTENT_APPEND):
        writes.append(["store_interaction", [agent, {"n": 8}], {"interaction_id": "given"}])
    if has(Capability.LEARNING_DATA):
        writes += [["store_learning_data", [agent, name, {"of": name}], {}] for name in ("a", "b", "c")]
        writes.append(["delete_learning_data", [agent, "b"], {}])
    if has(Capability.SYSTEM_STATE):
        writes += [["store_system_state", [key, {"n": n}], {}] for n in (1, 2)]
    if has(Capability.TURN):
        turn = {"interactions": [{"n": 9}, {"n": 10}], "state": {"n": 3}, "learning": {"c": {"n": 3}}}
        writes.append(["record_turn", [agent], turn])
    if has(Capability.RETENTION):
        writes.append(["delete_interactions", [agent], {"keep_last": 3}])
    if has(Capability.AGENTS):
        writes += [
            ["store_interaction", [agent + " deleted", {}], {}],
            ["delete_agent", [agent + " deleted"], {}],
        ]
    return writes


async def _look(place: Place, agent: str, key: str) -> Any:
    """All that ``_writes`` left, without times and generated ids."""
    has, storage = place.has, place.storage
    seen: list[Any] = [await storage.get_interactions(agent), await storage.get_agent_state(agent)]
    if has(Capability.HISTORY):
        seen.append([(one.sequence, one.data) async for one in storage.iter_interactions(agent)])
    if has(Capability.VERSIONED_STATE):
        seen.append(_plain(await storage.get_agent_state_document(agent)))
    if has(Capability.LEARNING_DATA):
        seen.append([_plain(document) for document in await storage.list_learning_data(agent)])
    if has(Capability.SYSTEM_STATE):
        document = await storage.get_system_state_document(key)
        seen.append(document and (document.version, document.data))
    if has(Capability.AGENTS):
        seen.append(len(await storage.list_agents(prefix=agent)))
    return seen


def _plain(document: Document | None) -> Any:
    return None if document is None else (document.key, document.version, document.data)
