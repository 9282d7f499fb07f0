"""W1 from several processes on the same store: what all of them reach together, and how even their shares are."""

from __future__ import annotations

import asyncio
import contextlib

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import Sample
from oacp_storage_bench.processes import child
from oacp_storage_bench.subject import Subject

CALLERS = 16
"""In each process."""


async def cells(subject: Subject) -> list[Cell]:
    """As many processes as the profile says, each round twice as long as others: they need time to meet."""
    if not subject.storage.multiprocess:
        subject.note("it is for one process; several are not measured")
        return []
    made = []
    for count in subject.profile.processes:
        what = f"append, {count} process{'es' * (count > 1)} of {CALLERS} callers"
        against = ["processes.1"] if count > 1 else []
        made.append(
            subject.ours(
                "W1", f"processes.{count}", what, _measure(subject, count), against=against, heavy=True
            )
        )
    return made


def _measure(subject: Subject, count: int) -> Measure:
    target = subject.target

    async def measure(seconds: float) -> Sample:
        async with contextlib.AsyncExitStack() as stack:
            spec = {
                "source": target.source,
                "options": target.options,
                "callers": CALLERS,
                "agents": subject.agents,
            }
            children = [await stack.enter_async_context(child("append", **spec)) for _ in range(count)]
            await asyncio.gather(*[one.ask({"seconds": seconds / 2}) for one in children])  # all are warm
            answers = await asyncio.gather(*[one.ask({"seconds": 2 * seconds}) for one in children])
        rates = [answer["rate"] for answer in answers]
        total = sum(answer["count"] for answer in answers)
        return Sample(sum(rates), slowest=min(rates) / (sum(rates) / count), operations=total)

    return measure
