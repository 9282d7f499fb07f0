"""``soak``: many processes write to one store, some of them are killed, and nothing acknowledged may be wrong."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from oacp_storage_conformance.patience import PATIENCE
from oacp_storage_conformance.place import collect
from oacp_storage_conformance.sources import Source, build
from oacp_storage_conformance.workers import Worker, worker
from oacp_storage_core import Capability, Storage


@dataclass(frozen=True)
class SoakReport:
    """What a soak found in order. ``unacknowledged`` were stored, but their process died before it could say so."""

    acknowledged: int
    unacknowledged: int
    killed: int
    seconds: float


async def soak(
    source: Source,
    *,
    processes: int = 4,
    tasks: int = 16,
    seconds: float = 10,
    kill: int = 2,
    agents: int = 8,
    seed: int = 0,
    base: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> SoakReport:
    """Let ``processes`` of ``tasks`` each append for ``seconds``, and kill some of them with SIGKILL on the way.

    Then every agent's log must be gap-free, hold each acknowledged append exactly once and those of each task
    in their order, and at most one unacknowledged append for each task of a killed process. Otherwise
    ``AssertionError``. ``options`` go to every storage; ``seed`` decides when which process is killed. Works on
    agents whose names begin with ``base`` (by default a new one), and leaves them behind.
    """
    if kill > processes:
        raise ValueError(f"cannot kill {kill} of {processes} processes")
    dice, options = random.Random(seed), dict(options or {})  # noqa: S311 - no secret
    base = base or f"conformance-soak-{uuid4().hex[:8]}-"
    names = [f"{base}{n}" for n in range(agents)]
    async with AsyncExitStack() as stack:
        workers: list[Worker] = []
        for by in range(processes):
            arguments: dict[str, Any] = {
                "agents": names,
                "by": by,
                "tasks": tasks,
                "seconds": seconds,
                "count": 10**9,
            }
            workers.append(await stack.enter_async_context(worker(source, options, "append", **arguments)))
        await asyncio.gather(*(one.opened() for one in workers))
        doomed = dice.sample(range(processes), kill)

        async def live(by: int) -> list[Any]:
            return await workers[by].finish(seconds + PATIENCE)

        async def die(by: int, after: float) -> list[Any]:
            reading = asyncio.ensure_future(workers[by].drain(seconds + PATIENCE))
            await asyncio.sleep(after)
            workers[by].signal_kill()
            await reading
            return workers[by].said

        said = await asyncio.gather(
            *(
                die(by, dice.uniform(0.2, 0.8) * seconds) if by in doomed else live(by)
                for by in range(processes)
            )
        )
    async with build(source, **options) as storage:
        acknowledged = Counter(tuple(ack) for one in said for ack in one)
        stored = await _read(storage, names)
    _compare(acknowledged, stored, set(doomed))
    return SoakReport(sum(acknowledged.values()), len(stored) - sum(acknowledged.values()), kill, seconds)


async def _read(storage: Storage, names: list[str]) -> list[tuple[str, int, int, int]]:
    """Every append (agent, process, task, n) in the order of the logs, which must be gap-free."""
    stored = []
    for agent in names:
        if Capability.HISTORY in storage.capabilities:
            log = await collect(storage.iter_interactions(agent))
            sequences = [one.sequence for one in log]
            assert sequences == list(range(1, len(log) + 1)), (
                f"{agent}: the sequences have gaps: {_gaps(sequences)}"
            )
            payloads = [one.data for one in log]
        else:
            payloads = await storage.get_interactions(agent, 10**6)
        stored += [(agent, one["by"], one["task"], one["n"]) for one in payloads]
    return stored


def _compare(
    acknowledged: Counter[tuple[Any, ...]], stored: list[tuple[str, int, int, int]], killed: set[int]
) -> None:
    counts = Counter(stored)
    doubled = [append for append, count in counts.items() if count > 1]
    assert not doubled, f"stored more than once: {doubled[:5]}"
    lost = [append for append in acknowledged if append not in counts]
    assert not lost, f"acknowledged, but not stored: {len(lost)}, for example {lost[:5]}"
    by_task: dict[tuple[str, int, int], list[int]] = {}
    for agent, by, task, n in stored:
        by_task.setdefault((agent, by, task), []).append(n)
    for (agent, by, task), order in by_task.items():
        assert order == list(range(len(order))), (
            f"{agent}: task {task} of process {by} is out of order: {order[:20]}"
        )
        extra = len(order) - sum(1 for n in range(len(order)) if (agent, by, task, n) in acknowledged)
        assert extra <= (1 if by in killed else 0), (
            f"{agent}: task {task} of process {by} stored {extra} too many"
        )


def _gaps(sequences: list[int]) -> list[tuple[int, int]]:
    return [(one, two) for one, two in zip([0, *sequences], sequences, strict=False) if two != one + 1][:5]
