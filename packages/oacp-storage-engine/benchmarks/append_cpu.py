"""The processor time of one append above the store: validation, encoding and the engine together.

``store_interaction`` of about 1 KB over an engine whose commit takes one turn of the event loop and stores nothing,
with 64 callers over 20 agents. The goal is at most 25 us of processor time per append.

    python benchmarks/append_cpu.py [--callers 64] [--rounds 7] [--profile]
"""

# ruff: noqa: D102 - the primitives are documented where they are declared

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import platform
import pstats
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from oacp_storage_core import RetentionPick
from oacp_storage_engine import (
    Applied,
    Doc,
    DocKind,
    Engine,
    EngineStorage,
    Erased,
    Hint,
    Info,
    Outcome,
    Page,
    Record,
    Trimmed,
    Unit,
)

GOAL_US = 25.0
AGENTS = 20
APPENDS = 20_000  # in each round, by all callers together

PAYLOAD: dict[str, Any] = {
    "type": "tool_call",
    "role": "assistant",
    "turn": 17,
    "content": "The parcel left the warehouse in Rotterdam and is due on Thursday. " * 10,
    "tool": {
        "name": "track_parcel",
        "arguments": {"parcel": "NL-2047-118", "with_history": True, "limit": 25},
        "result": {"status": "in transit", "km": 312.4, "stops": ["Rotterdam", "Arnhem"], "eta": None},
    },
    "usage": {"prompt_tokens": 812, "completion_tokens": 164, "seconds": 1.832},
    "tags": ["logistics", "customer", "follow-up"],
}


class NullEngine(Engine):
    """Applies nothing, one turn of the event loop later."""

    async def open(self) -> Info:
        return Info()

    async def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        await asyncio.sleep(0)
        return [Applied((1,))] * len(units)

    async def read_log(
        self,
        agent: str,
        low: int,
        high: int | None,
        *,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None = None,
    ) -> Page:
        return Page([], 0)

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        return []

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        return [None] * len(keys)

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        return []

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        return []

    async def trim(
        self,
        attempt: str,
        agents: Sequence[str],
        pick: RetentionPick,
        *,
        dry_run: bool,
        limit: int,
        deadline: float,
    ) -> Trimmed:
        return Trimmed(0)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        return Erased()

    async def signals(self) -> AsyncIterator[str | None]:
        yield None
        await asyncio.Event().wait()

    async def inspect(self) -> Info:
        return Info()


class NullStorage(EngineStorage):
    """The whole interface over nothing."""

    def _make_engine(self) -> Engine:
        return NullEngine()


async def append_round(callers: int) -> float:
    """Microseconds of processor time per append, of one round."""
    each = APPENDS // callers
    async with NullStorage() as storage:

        async def caller(number: int) -> None:
            agent = f"agent-{number % AGENTS}"
            for _ in range(each):
                await storage.store_interaction(agent, PAYLOAD)

        begun = time.process_time()
        await asyncio.gather(*(caller(number) for number in range(callers)))
        return (time.process_time() - begun) / (each * callers) * 1e6


def measure(callers: int, rounds: int) -> list[float]:
    """The rounds, each in an event loop of its own."""
    return [asyncio.run(append_round(callers)) for _ in range(rounds)]


def main() -> None:
    """Measure, print, and say whether the goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    arguments = parser.parse_args()
    if arguments.profile:
        profile = cProfile.Profile()
        profile.runcall(measure, arguments.callers, 1)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    size = len(json.dumps(PAYLOAD, separators=(",", ":")))
    figures = measure(arguments.callers, arguments.rounds)
    verdict = "reached" if min(figures) <= GOAL_US else "short"
    sys.stdout.write(
        f"Python {platform.python_version()}, {arguments.callers} callers, {size} bytes a payload\n"
        f"us of processor time per append, by round: {', '.join(f'{figure:.1f}' for figure in figures)}\n"
        f"best {min(figures):.1f} us; the goal of {GOAL_US:g} us is {verdict}\n"
    )


if __name__ == "__main__":
    main()
