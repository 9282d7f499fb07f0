"""The report as a page of Markdown, to be kept beside the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from oacp_storage_bench.results import Report, Row
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


def page(report: Report, plot: Path | None = None) -> str:
    """The whole report; ``plot`` is shown where it is given, by its path from the page."""
    made = (
        f"Made by `{report.command}` on {report.started[:10]}, in {report.seconds:,.0f} seconds. "
        f"Profile {report.profile}: every figure is the median of {report.rounds} interleaved rounds, beside the "
        "least and the most of them. Do not edit this page; make it again."
    )
    parts = [
        "# Measured",
        made,
        described(report.machine),
        ", ".join(f"{name} {version}" for name, version in report.versions.items()) + ".",
    ]
    if plot is not None:
        parts.append(f"![Durable appends a second]({plot.as_posix()})")
    parts += ["## Goals", _table(_GOALS, _goals(report))]
    for storage in report.storages:
        server = f" {storage.server_version};" if storage.server_version else ""
        parts += [
            f"## {storage.label}",
            f"`{storage.source}`;{server} acknowledged data survives: {storage.durability}.",
            _table(_FIGURES, (_cells(report, row) for row in report.of(storage.label))),
        ]
        parts += [f"- {warning}" for warning in storage.warnings]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


_GOALS = ("storage", "goal", "bound", "found (min to max)", "", "")
_FIGURES = ("", "what", "who", "a second", "min to max", "p50 ms", "p99 ms", "CPU us", "is", "durability")


def _goals(report: Report) -> Iterable[Sequence[str]]:
    for goal in report.goals:
        verdict = f"**{goal.verdict}**" if goal.verdict == "short" else goal.verdict
        yield goal.storage, goal.name, bound(goal), figure(goal), verdict, goal.remark


def _cells(report: Report, row: Row) -> Sequence[str]:
    what = f"**{row.what}**" if row.side == "ours" else row.what
    compared = "; ".join(comparisons(report, row))
    latencies = middle(row.p50), middle(row.p99), middle(row.cpu)
    return row.workload, what, row.who, value(row), spread(row.values), *latencies, compared, durability(row)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
