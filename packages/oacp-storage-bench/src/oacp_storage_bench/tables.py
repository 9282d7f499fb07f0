"""The report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oacp_storage_bench.results import Goal, Report
from oacp_storage_bench.wording import (
    bound,
    comparisons,
    described,
    durability,
    figure,
    middle,
    spread,
    value,
)

_STYLES = {"reached": "green", "short": "red", "not comparable": "yellow", "not measured": "dim"}
_SIDES = {"ours": "bold", "raw": "", "peer": ""}


def show(report: Report, console: Console) -> None:
    """The machine, a table for each storage, the goals and the notes."""
    console.print(described(report.machine))
    console.print(", ".join(f"{name} {version}" for name, version in report.versions.items()))
    console.print(
        f"profile {report.profile}: medians of {report.rounds} interleaved rounds, {report.seconds:.0f} s in all"
    )
    for storage in report.storages:
        console.print()
        server = f", {storage.server_version}" if storage.server_version else ""
        console.print(Text(f"{storage.label}: {storage.source}{server}, {storage.durability}", style="bold"))
        for warning in storage.warnings:
            console.print(f"  {warning}")
        console.print(_figures(report, storage.label))
    console.print()
    console.print(_goals(report.goals))
    for note in report.notes:
        console.print(f"note: {note}")


def _figures(report: Report, label: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "what", "who"):
        table.add_column(name, overflow="fold")
    for name in ("a second", "min to max", "p50 ms", "p99 ms", "CPU us"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("is", overflow="fold")
    table.add_column("durability", overflow="fold")
    for row in report.of(label):
        table.add_row(
            row.workload,
            row.what,
            row.who,
            value(row),
            spread(row.values),
            middle(row.p50),
            middle(row.p99),
            middle(row.cpu),
            "\n".join(comparisons(report, row)),
            durability(row),
            style=_SIDES[row.side],
        )
    return table


def _goals(goals: list[Goal]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title="Goals", title_justify="left")
    for name in ("storage", "goal", "bound", "found (min to max)", "", ""):
        table.add_column(name, overflow="fold")
    for goal in goals:
        verdict = Text(goal.verdict, style=_STYLES[goal.verdict])
        table.add_row(goal.storage, goal.name, bound(goal), figure(goal), verdict, goal.remark)
    return table
