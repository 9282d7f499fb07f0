"""A run: everything open at the same time, measured in turns, round after round."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from oacp_storage_bench.cell import Cell
from oacp_storage_bench.goals import judge
from oacp_storage_bench.machine import machine, versions, warm_up
from oacp_storage_bench.place import Target
from oacp_storage_bench.profile import Profile
from oacp_storage_bench.results import Report, Row
from oacp_storage_bench.startup import STARTING, measure_start
from oacp_storage_bench.subject import Subject, subject
from oacp_storage_bench.traffic import Traffic
from oacp_storage_bench.workloads import WORKLOADS

Say = Callable[[str], None]
"""Told what is going on, for whoever waits."""

_T = TypeVar("_T")

_BRIEF = 0.15
"""Share of the time that each cell is run before the first round, unmeasured: connections, caches, code."""


@dataclass(frozen=True)
class Plan:
    """What to measure. ``only`` names workloads; ``command`` is told in the report, without secrets."""

    sources: Sequence[str]
    profile: Profile
    against: frozenset[str]
    directory: Path
    traffic: Traffic | None = None
    only: frozenset[str] = frozenset([*WORKLOADS, STARTING])
    command: str = ""


async def run(plan: Plan, say: Say, stop: asyncio.Event | None = None) -> Report:
    """Measure everything. Raises a ``StorageError`` when a storage cannot be opened; later failures become notes.

    When ``stop`` is set, what is being measured is finished, and the report is of what there is by then.
    """
    stop = stop or asyncio.Event()
    started = datetime.now(UTC)
    room = Path(tempfile.mkdtemp(prefix="oacp-bench-", dir=plan.directory))
    targets: list[Target] = []
    logged = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what storages warn of is in the report
    try:
        targets += [Target(source, room) for source in plan.sources]
        here = machine(room)
        say("warming up the disk")
        warm_up(room, plan.profile.warm_up)
        async with contextlib.AsyncExitStack() as stack:
            subjects: list[Subject] = []
            for target in targets:
                say(f"opening {target.shown}")
                label = _label(target, [one.facts.label for one in subjects])
                entering = subject(target, label, plan.profile, plan.against, plan.traffic)
                subjects.append(await stack.enter_async_context(entering))
            _tell_durability(subjects)
            rows, notes = await _measure(subjects, plan, say, stop)
            say("removing what was stored")
        here.directory = str(plan.directory)
        if STARTING in plan.only and not stop.is_set():
            try:
                rows += measure_start(plan.profile.starts)
            except (OSError, subprocess.SubprocessError) as exc:
                notes.append(f"starting could not be measured: {exc}")
        report = Report(
            started=started.isoformat(timespec="seconds"),
            profile=plan.profile.name,
            rounds=plan.profile.rounds,
            seconds=round((datetime.now(UTC) - started).total_seconds(), 1),
            command=plan.command,
            machine=here,
            versions=_all_versions(subjects),
            storages=[one.facts for one in subjects],
            rows=rows,
            goals=[],
            notes=notes + _notes(here.file_system, subjects),
            left_out=_left_out(plan, stop),
        )
        report.goals = judge(report)
        return report
    finally:
        logging.disable(logged)
        for target in targets:
            target.remove()
        shutil.rmtree(room, ignore_errors=True)


async def _measure(
    subjects: Sequence[Subject], plan: Plan, say: Say, stop: asyncio.Event
) -> tuple[list[Row], list[str]]:
    """The rows that have figures, and what is to be said of the whole."""
    groups: list[tuple[Subject, list[Cell]]] = []
    notes = []
    for one in subjects:
        for name in WORKLOADS:
            if name in plan.only and not stop.is_set():
                say(f"preparing {one.facts.label}: {name}")
                groups.append((one, await _prepared(one, name)))
    for number in range(plan.profile.rounds + 1):
        seconds = plan.profile.seconds * (_BRIEF if number == 0 else 1)
        for one, group in _turned(groups, number):
            for cell in group:
                if cell.is_due(number) and not stop.is_set():
                    place = f"round {number} of {plan.profile.rounds}" if number else "trying"
                    say(f"{place}: {one.facts.label}, {cell.row.who}, {cell.row.what}")
                    await _take(one, cell, seconds, keep=number > 0)
        if stop.is_set():
            notes.append(
                f"interrupted in round {number} of {plan.profile.rounds}: some rows have fewer figures, or none"
            )
            break
        for one in subjects:
            await _make_room(one)
    done = [cell.row for _, group in groups for cell in group if cell.failure is None and cell.row.values]
    labels = [one.facts.label for one in subjects]
    return sorted(done, key=lambda row: (labels.index(row.storage), row.workload)), notes


async def _prepared(one: Subject, name: str) -> list[Cell]:
    """The cells of a workload; none, and a note, when it cannot be prepared."""
    try:
        return await WORKLOADS[name](one)
    except Exception as exc:  # noqa: BLE001 - bare drivers raise what they like
        one.note(f"{name} could not be prepared: {type(exc).__name__}: {exc}")
        return []


async def _take(one: Subject, cell: Cell, seconds: float, *, keep: bool) -> None:
    """Measure once. A cell that fails is left out of the report, which says why."""
    limit = asyncio.timeout(cell.limit)
    try:
        async with limit:
            sample = await cell.measure(seconds)
    except Exception as exc:  # noqa: BLE001 - bare drivers raise what they like
        what = f"took more than {cell.limit:g} s" if limit.expired() else f"{type(exc).__name__}: {exc}"
        cell.failure = what
        one.note(f"{cell.row.who}, {cell.row.what}, failed: {what}")
        return
    if keep:
        cell.take(sample)


async def _make_room(one: Subject) -> None:
    """Between rounds; a failure is a note, and the next round finds less room."""
    try:
        await one.make_room()
    except Exception as exc:  # noqa: BLE001 - bare drivers raise what they like
        one.note(f"what a round appended could not be removed: {type(exc).__name__}: {exc}")


def _turned(groups: Sequence[_T], number: int) -> Iterable[_T]:
    """The groups, beginning elsewhere in each round, so that none always follows the same one."""
    begin = number * max(len(groups) // 5, 1) % max(len(groups), 1)
    return [*groups[begin:], *groups[:begin]]


def _label(target: Target, taken: Sequence[str]) -> str:
    """The name of the backend, with a number where it is not the first."""
    label, number = target.place.family, 1
    while label in taken:
        number += 1
        label = f"{target.place.family} {number}"
    return label


def _tell_durability(subjects: Sequence[Subject]) -> None:
    """Storages of one backend are told apart by their durability where that can be done."""
    families: dict[str, list[Subject]] = {}
    for one in subjects:
        families.setdefault(one.target.place.family, []).append(one)
    for family, same in families.items():
        if len(same) > 1 and len({one.facts.durability for one in same}) == len(same):
            for one in same:
                one.facts.label = f"{family}, {one.facts.durability}"


def _all_versions(subjects: Sequence[Subject]) -> dict[str, str]:
    found = versions()
    for one in subjects:
        found |= one.versions
    return found


def _left_out(plan: Plan, stop: asyncio.Event) -> dict[str, str]:
    """Why workloads, the bare drivers and the peers are missing, for the goals that need them."""
    if stop.is_set():
        return dict.fromkeys([*WORKLOADS, STARTING, "raw", "peers"], "the run was interrupted")
    left_out = {name: "left out by --only" for name in (*WORKLOADS, STARTING) if name not in plan.only}
    left_out |= {side: "left out by --against" for side in ("raw", "peers") if side not in plan.against}
    return left_out


def _notes(file_system: str, subjects: Sequence[Subject]) -> list[str]:
    notes = [note for one in subjects for note in one.notes]
    if file_system in ("tmpfs", "ramfs"):
        notes.insert(
            0, "the directory is in memory: nothing is durable there, and nothing waits; use --directory"
        )
    return notes
