"""W7: from acknowledgement in this process to delivery in another one that watches."""

from __future__ import annotations

import asyncio
import itertools
import time

from oacp_storage_bench.cell import Cell
from oacp_storage_bench.measure import Sample, percentile
from oacp_storage_bench.payloads import message
from oacp_storage_bench.processes import child
from oacp_storage_bench.subject import Subject
from oacp_storage_core import Capability

PAUSE = 0.005
"""Seconds between appends, so that each delivery is one of its own."""


async def cells(subject: Subject) -> list[Cell]:
    """Milliseconds; a delivery before the acknowledgement counts as 0."""
    if not subject.storage.multiprocess:
        subject.note("other processes do not see it; watching from one is not measured")
        return []
    if not subject.can(Capability.WATCH):
        return []
    rounds = itertools.count()

    async def measure(_: float) -> Sample:
        return await _watched(subject, subject.target.agent(f"watched-{next(rounds)}"))

    what = "watch: acknowledged to delivered elsewhere"
    return [subject.ours("W7", "watch", what, measure, unit="ms", heavy=True)]


async def _watched(subject: Subject, agent: str) -> Sample:
    count = subject.profile.watched
    await subject.storage.store_interaction(agent, message(0))
    acknowledged = {}
    target = subject.target
    async with child("watch", source=target.source, options=target.options, agent=agent) as watcher:
        deliveries = asyncio.create_task(watcher.ask({"count": count}))
        for sequence in range(2, count + 2):
            await asyncio.sleep(PAUSE)
            await subject.storage.store_interaction(agent, message(sequence))
            acknowledged[sequence] = time.monotonic_ns()
        async with asyncio.timeout(60):
            delivered = (await deliveries)["delivered"]
    waits = sorted(max(at - acknowledged[sequence], 0) / 1e6 for sequence, at in delivered)
    middle = percentile(waits, 0.50)
    return Sample(middle, middle, percentile(waits, 0.99), operations=len(waits))
