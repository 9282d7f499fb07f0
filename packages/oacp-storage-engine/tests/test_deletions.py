"""Deletions: in bounded steps, in the order of calls, and honest about what they did when they fail."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryEngine
from oacp_storage_core import OutcomeUnknownError, StorageTimeoutError
from oacp_storage_engine import Erased, NotApplied, Trimmed
from scripted_engine import outcome_of
from virtual_loop import run


class Steps(MemoryEngine):
    """Erases and trims one record a step, and fails at the step given."""

    fails_at = 10**9
    steps = 0

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self.fails_at:
            raise NotApplied("away")

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        self._step()
        return await super().erase(attempt, agent, begin=begin, limit=1, deadline=deadline)

    async def trim(self, attempt: str, agents: Sequence[str], pick: Any, **options: Any) -> Trimmed:
        self._step()
        return await super().trim(attempt, agents, pick, **{**options, "limit": 1})


class SteppingStorage(FakeStorage):
    fails_at = 10**9

    def _make_engine(self) -> MemoryEngine:
        engine = Steps(self.store)
        engine.fails_at = self.fails_at
        self.engines.append(engine)
        return engine


@pytest.mark.parametrize("which", ["delete_agent", "delete_interactions", "of all agents"])
@pytest.mark.parametrize("fails_at", [0, 1, 3])
def test_a_deletion_that_fails_in_the_middle_does_not_say_that_nothing_was_changed(
    which: str, fails_at: int
) -> None:
    async def main() -> None:
        async with FakeStorage() as full:
            for agent in ("ann", "bob"):
                await full.store_interactions(agent, [{}] * 5)
            storage = SteppingStorage(full.store, timeout=1.0)
            storage.fails_at = fails_at
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "delete_agent": lambda: storage.delete_agent("ann"),
                "delete_interactions": lambda: storage.delete_interactions("ann", keep_last=1),
                "of all agents": lambda: storage.delete_interactions(keep_last=1),
            }
            error = await outcome_of(calls[which]())
            assert type(error) is (OutcomeUnknownError if fails_at else StorageTimeoutError)
            assert ("repeat the call to delete the rest" in str(error)) == bool(fails_at)
            engine = storage.engines[0]
            assert isinstance(engine, Steps)
            engine.fails_at = 10**9
            await calls[which]()
            left = await full.get_interactions("ann")
            assert len(left) == (0 if which == "delete_agent" else 1)
            await storage.close()

    run(main())


def test_deletions_count_what_all_their_steps_removed() -> None:
    async def main() -> None:
        async with SteppingStorage() as storage:
            await storage.store_interactions("ann", [{}] * 9)
            await storage.store_agent_state("ann", {})
            await storage.store_learning_data("ann", "k", {})
            assert await storage.delete_interactions("ann", keep_last=4, dry_run=True) == 5
            assert await storage.delete_interactions("ann", keep_last=4) == 5
            deletion = await storage.delete_agent("ann")
            assert (deletion.interactions, deletion.states, deletion.learning) == (4, 1, 1)
            assert not await storage.delete_agent("ann")

    run(main())


def test_many_ids_go_to_the_store_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oacp_storage_engine.deletions._TRIM_STEP", 3)

    async def main() -> None:
        async with FakeStorage() as storage:
            await storage.store_interactions("ann", [{}] * 10)
            ids = [one.id async for one in storage.iter_interactions("ann")]
            doomed = [*ids[:8], *ids[:8], "unknown"]
            assert await storage.delete_interactions("ann", ids=doomed, keep_last=4, dry_run=True) == 6
            assert await storage.delete_interactions("ann", ids=doomed, keep_last=4) == 6
            assert [one.id async for one in storage.iter_interactions("ann")] == ids[6:]
            assert storage.engines[0].calls.count("trim") == 3 + 3
            assert await storage.delete_interactions("ann", ids=[]) == 0
            assert storage.engines[0].calls.count("trim") == 3 + 3

    run(main())


def test_a_deletion_keeps_its_place_among_calls() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            calls = [
                storage.store_interaction("ann", {"n": 1}),
                storage.delete_agent("ann"),
                storage.store_interaction("ann", {"n": 2}),
                storage.delete_interactions("ann", keep_last=0),
                storage.store_interaction("ann", {"n": 3}),
            ]
            await asyncio.gather(*calls)
            assert await storage.get_interactions("ann") == [{"n": 3}]

    run(main())


def test_whole_partitions_are_dropped_first() -> None:
    class Partitioned(MemoryEngine):
        async def drop_covered(self, attempt: str, pick: Any, *, deadline: float) -> int:
            self.calls.append("drop_covered")
            return 1000

    class Storage(FakeStorage):
        def _make_engine(self) -> MemoryEngine:
            engine = Partitioned(self.store)
            self.engines.append(engine)
            return engine

    async def main() -> None:
        async with Storage() as storage:
            await storage.store_interactions("ann", [{}] * 3)
            assert await storage.delete_interactions(keep_last=1) == 1002
            assert await storage.delete_interactions(keep_last=0, dry_run=True) == 1
            assert await storage.delete_interactions("ann", keep_last=0) == 1
            assert storage.engines[0].calls.count("drop_covered") == 1

    run(main())
