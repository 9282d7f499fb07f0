"""W9: how much memory a process needs for a batch of 10,000, and for streaming a long history."""

from __future__ import annotations

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import Sample
from oacp_storage_bench.processes import child
from oacp_storage_bench.subject import Subject
from oacp_storage_bench.workloads.histories import history_agent
from oacp_storage_core import Capability


async def cells(subject: Subject) -> list[Cell]:
    """Megabytes of the peak above the start; the batch itself, which is the caller's, is among them."""
    if not subject.storage.multiprocess or not subject.can(Capability.BATCH_APPEND, Capability.HISTORY):
        return []
    count, streamed = subject.profile.batch, subject.profile.streamed
    stream: dict[str, object] = {"what": "stream", "agent": history_agent(subject, streamed)}
    return [
        subject.ours(
            "W9",
            f"memory.batch.{count}",
            f"memory of a batch of {count:,}",
            _peak(subject, {"what": "batch", "count": count}),
            unit="MB",
            heavy=True,
        ),
        subject.ours(
            "W9",
            f"memory.stream.{streamed}",
            f"memory of streaming {streamed:,}",
            _peak(subject, stream),
            unit="MB",
            heavy=True,
        ),
    ]


def _peak(subject: Subject, request: dict[str, object]) -> Measure:
    target = subject.target

    async def measure(_: float) -> Sample:
        agent = target.agent("memory")
        async with child("memory", source=target.source, options=target.options, agent=agent) as process:
            answer = await process.ask(request)
        least = subject.profile.streamed if request["what"] == "stream" else subject.profile.batch
        if answer["count"] < least:
            raise RuntimeError(f"{answer['count']:,} interactions were read where {least:,} are stored")
        return Sample(answer["mb"], operations=answer["count"])

    return measure
