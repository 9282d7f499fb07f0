"""W1 for other sizes of payloads: appends by 64 callers, beside the bare driver in commits of 64."""

from __future__ import annotations

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import callers
from oacp_storage_bench.subject import Subject
from oacp_storage_bench.workloads.appends import BATCH, append, batched


async def cells(subject: Subject) -> list[Cell]:
    """Ours beside raw for each size of the profile."""
    made = []
    raws = [raw for raw in subject.raws if not raw.only_single]
    for size in subject.profile.sizes:
        key, what = f"append.bytes.{size}", f"append of {size:,} bytes"
        made += [batched(subject, raw, key, f"{what}, commits of 64", size) for raw in raws]
        against = [f"raw.{raw.slug}.{key}" for raw in raws]
        what = f"{what}, {BATCH} callers"
        made.append(subject.ours("W1", key, what, _appending(subject, size), against=against))
    return made


def _appending(subject: Subject, size: int) -> Measure:
    return lambda seconds: callers(BATCH, seconds, lambda who, n: append(subject, who, n, size))
