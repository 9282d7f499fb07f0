"""W2: one call with 10,000 interactions, beside the fastest that the bare driver has for so many."""

from __future__ import annotations

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import once
from oacp_storage_bench.payloads import message
from oacp_storage_bench.raw import Raw
from oacp_storage_bench.subject import Subject
from oacp_storage_core import Capability


async def cells(subject: Subject) -> list[Cell]:
    """One batch a round, whatever time it takes."""
    if not subject.can(Capability.BATCH_APPEND):
        return []
    count = subject.profile.batch
    key, what = f"batch.{count}", f"batch of {count:,}"
    raws = [raw for raw in subject.raws if not raw.only_single]
    made = [subject.of_raw(raw, "W2", key, what, _raw(subject, raw, count)) for raw in raws]
    against = [f"raw.{raw.slug}.{key}" for raw in raws]
    made.append(subject.ours("W2", key, what, _ours(subject, count), against=against))
    return made


def _ours(subject: Subject, count: int) -> Measure:
    agent = subject.target.agent("batch")
    payloads = [message(n) for n in range(count)]
    return lambda _: once(count, lambda: subject.storage.store_interactions(agent, payloads))


def _raw(subject: Subject, raw: Raw, count: int) -> Measure:
    agent = subject.target.agent("batch")
    entries = [(agent, message(n)) for n in range(count)]
    return lambda _: once(count, lambda: raw.bulk(entries))
