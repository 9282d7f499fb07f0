"""What a write costs above the store, counted in calls of functions: unlike time, the same on every machine.

``benchmarks/append_cpu.py`` measures the time.
"""

import asyncio
import cProfile
import pstats
from collections.abc import Awaitable, Callable, Sequence

import pytest

from memory_engine import FakeStorage, MemoryEngine
from oacp_storage_engine import Applied, Engine, Outcome, Unit

CALLERS = 64
EACH = 20
BATCH = 1_000
# Of Python and C functions, the event loop's included, and what they were when this was written.
MOST_CALLS = 85  # 75
MOST_CALLS_IN_A_BATCH = 18  # for each interaction; 15.4
MOST_CALLS_OF_A_TURN = 195  # 173; it has four interactions and a state
PAYLOAD = {"n": 1, "text": "hello"}


class NullEngine(MemoryEngine):
    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        await asyncio.sleep(0)
        return [Applied(tuple(range(len(unit.appends))), (1,) * len(unit.puts)) for unit in units]


class NullStorage(FakeStorage):
    def _make_engine(self) -> Engine:
        return NullEngine(self.store)


async def calls_of(write: Callable[[FakeStorage, str], Awaitable[object]], callers: int, each: int) -> float:
    """Calls of functions for one write, of many by callers of whom each has an agent."""
    async with NullStorage() as storage:

        async def caller(n: int) -> None:
            for _ in range(each):
                await write(storage, f"agent-{n}")

        await storage.open()
        profile = cProfile.Profile()
        profile.enable()
        await asyncio.gather(*(caller(n) for n in range(callers)))
        profile.disable()
    total: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  # not in its stubs
    return total / (callers * each)


@pytest.mark.asyncio
async def test_an_append_takes_few_calls() -> None:
    calls = await calls_of(lambda storage, agent: storage.store_interaction(agent, PAYLOAD), CALLERS, EACH)
    print(f"{calls:.1f} calls of functions per append")
    assert calls <= MOST_CALLS


@pytest.mark.asyncio
async def test_an_interaction_of_a_batch_takes_fewer() -> None:
    batch = [PAYLOAD] * BATCH
    calls = await calls_of(lambda storage, agent: storage.store_interactions(agent, batch), 1, 1) / BATCH
    print(f"{calls:.1f} calls of functions per interaction")
    assert calls <= MOST_CALLS_IN_A_BATCH


@pytest.mark.asyncio
async def test_a_turn_takes_fewer_than_its_records_alone() -> None:
    said = [PAYLOAD] * 4
    calls = await calls_of(
        lambda storage, agent: storage.record_turn(agent, interactions=said, state=PAYLOAD), CALLERS, EACH
    )
    print(f"{calls:.1f} calls of functions per turn")
    assert calls <= MOST_CALLS_OF_A_TURN
