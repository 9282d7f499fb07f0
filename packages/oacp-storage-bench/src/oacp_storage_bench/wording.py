"""How figures are written, in tables, on pages and in plots."""

from __future__ import annotations

from collections.abc import Sequence

from oacp_storage_bench.compare import compare
from oacp_storage_bench.results import Goal, Machine, Report, Row


def number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def value(row: Row) -> str:
    """The median with its unit."""
    return number(row.median) if row.unit == "a second" else f"{number(row.median)} {row.unit}"


def spread(figures: Sequence[float]) -> str:
    """The least and the most."""
    return f"{number(min(figures))} to {number(max(figures))}"


def middle(figures: Sequence[float]) -> str:
    """The median, or nothing."""
    return number(sorted(figures)[len(figures) // 2]) if figures else ""


def comparisons(report: Report, row: Row) -> list[str]:
    """What the row is of those that it is compared with; where it must not be compared, why not."""
    found = []
    for key in row.against:
        other = report.row(row.storage, key)
        if other is None:
            continue
        compared = compare(row, other)
        whom = other.what if other.side == "ours" else other.who
        if compared.median is None:
            found.append(f"not compared with {whom}: {compared.remark}")
        else:
            remark = f" although {compared.remark}" if compared.remark else ""
            found.append(f"{number(compared.median)} of {whom}{remark}")
    if row.slowest:
        found.append(f"slowest {middle(row.slowest)} of their mean")
    return found


def described(machine: Machine) -> str:
    """The machine, and whether it had other things to do."""
    words = (
        f"{machine.system}, {machine.processor}, {machine.cores} cores, {machine.memory_gb} GB; {machine.file_system}, "
        f"where an fsync takes {machine.fsync_ms} ms. Load {machine.load} at the start"
    )
    if machine.load > machine.cores / 2:
        return f"{words}: it was busy with other work, so that figures are low and ratios scatter."
    return f"{words}."


def durability(row: Row) -> str:
    """What an acknowledgement means there."""
    return f"{row.durability} ({row.settings})" if row.settings else row.durability


def bound(goal: Goal) -> str:
    """The goal's limit."""
    return f"{goal.bound} {goal.limit:g}"


def figure(goal: Goal) -> str:
    """What was found, with the least and the most."""
    if goal.median is None:
        return ""
    return f"{number(goal.median)} ({spread(goal.figures)})"
