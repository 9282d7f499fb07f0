"""W8: real traffic, replayed in its order by 64 callers, beside the bare driver in commits of 64."""

from __future__ import annotations

import asyncio
import itertools

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import once
from oacp_storage_bench.raw import Raw
from oacp_storage_bench.subject import Subject
from oacp_storage_bench.traffic import Traffic

MANY = 64


async def cells(subject: Subject) -> list[Cell]:
    """The lines that the profile takes, as fast as can be; nothing without a file."""
    traffic = subject.traffic
    if traffic is None:
        return []
    raws = [raw for raw in subject.raws if not raw.only_single]
    what = f"replay of {len(traffic.lines):,} lines, {traffic.size / 1e6:.1f} MB"
    made = [subject.of_raw(raw, "W8", "replay", f"{what}, commits of 64", _raw(traffic, raw)) for raw in raws]
    for cell in made:
        cell.heavy = True
    against = [cell.row.key for cell in made]
    made.append(
        subject.ours(
            "W8", "replay", f"{what}, {MANY} callers", _ours(subject, traffic), against=against, heavy=True
        )
    )
    return made


def _ours(subject: Subject, traffic: Traffic) -> Measure:
    rounds = itertools.count()

    async def replay() -> None:
        prefix = subject.target.agent(f"replay-{next(rounds)}-")
        lines = iter(traffic.lines)

        async def caller() -> None:
            for agent, interaction in lines:
                await subject.storage.store_interaction(prefix + agent, interaction)

        await asyncio.gather(*[caller() for _ in range(MANY)])

    return lambda _: once(len(traffic.lines), replay)


def _raw(traffic: Traffic, raw: Raw) -> Measure:
    async def replay() -> None:
        starts = iter(range(0, len(traffic.lines), MANY))

        async def lane(number: int) -> None:
            for start in starts:
                await raw.append(traffic.lines[start : start + MANY], number)

        await asyncio.gather(*[lane(number) for number in range(raw.lanes)])

    return lambda _: once(len(traffic.lines), replay)
