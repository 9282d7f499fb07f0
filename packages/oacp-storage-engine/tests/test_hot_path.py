"""What an append costs above the store, counted in calls of functions: unlike time, the same on every machine.

``benchmarks/append_cpu.py`` measures the time.
"""

import asyncio
import cProfile
import pstats
from collections.abc import Sequence

from memory_engine import FakeStorage, MemoryEngine
from oacp_storage_engine import Applied, Engine, Outcome, Unit

CALLERS = 64
EACH = 20
MOST_CALLS = 82  # of Python and C functions, the event loop's included; 70 when this was written


class NullEngine(MemoryEngine):
    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        await asyncio.sleep(0)
        return [Applied((1,))] * len(units)


class NullStorage(FakeStorage):
    def _make_engine(self) -> Engine:
        return NullEngine(self.store)


async def appends() -> cProfile.Profile:
    async with NullStorage() as storage:

        async def caller(n: int) -> None:
            for _ in range(EACH):
                await storage.store_interaction(f"agent-{n}", {"n": n, "text": "hello"})

        profile = cProfile.Profile()
        profile.enable()
        await asyncio.gather(*(caller(n) for n in range(CALLERS)))
        profile.disable()
        return profile


def test_an_append_takes_few_calls() -> None:
    statistics = pstats.Stats(asyncio.run(appends()))
    calls = statistics.total_calls / (CALLERS * EACH)  # type: ignore[attr-defined]  # not in its stubs
    assert calls <= MOST_CALLS, f"{calls:.1f} calls of functions per append"
