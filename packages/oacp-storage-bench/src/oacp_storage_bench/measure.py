"""Measuring: callers who call one after another for some time, and what a round of them found."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Sample(NamedTuple):
    """One round of one row: its value in the row's unit, latencies in ms, CPU in us per call.

    ``slowest`` is for several processes: the rate of the slowest as a share of the mean. ``operations`` is
    how many it comes from.
    """

    value: float
    p50: float | None = None
    p99: float | None = None
    cpu: float | None = None
    slowest: float | None = None
    operations: int = 0


def percentile(ordered: list[float], share: float) -> float:
    """The nearest rank of an ordered list: at least ``share`` of it is not greater."""
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


async def callers(
    count: int, seconds: float, call: Callable[[int, int], Awaitable[object]], *, each: int = 1
) -> Sample:
    """``count`` callers at once, each of whom calls again as soon as it has its answer, for ``seconds``.

    ``call(who, n)`` is the n-th call of that caller; ``each`` is how many operations it makes. Every caller calls
    at least once, and the time counts until the last answer.
    """
    gc.collect()
    latencies: list[float] = []
    clock = time.perf_counter
    cpu, begun = time.process_time(), clock()
    end = begun + seconds

    async def one(who: int) -> None:
        n = 0
        start = clock()
        while True:
            await call(who, n)
            now = clock()
            latencies.append(now - start)
            if now >= end:
                return
            n += 1
            start = now

    if count == 1:
        await one(0)
    else:
        await asyncio.gather(*[one(who) for who in range(count)])
    elapsed = clock() - begun
    operations = len(latencies) * each
    latencies.sort()
    return Sample(
        operations / elapsed,
        percentile(latencies, 0.50) * 1e3,
        percentile(latencies, 0.99) * 1e3,
        (time.process_time() - cpu) / operations * 1e6,
        operations=operations,
    )


async def once(count: int, work: Callable[[], Awaitable[object]]) -> Sample:
    """``count`` operations done by one piece of work: how many a second."""
    gc.collect()
    cpu, begun = time.process_time(), time.perf_counter()
    await work()
    elapsed = time.perf_counter() - begun
    return Sample(count / elapsed, cpu=(time.process_time() - cpu) / count * 1e6, operations=count)
