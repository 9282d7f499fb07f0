"""The grade as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oacp_storage_conformance.clause import Trait
from oacp_storage_conformance.grading import Row, Target, Verdict, grade, is_whole, reasons

if TYPE_CHECKING:
    from oacp_storage_conformance.listing import ListedTest

_STYLES: dict[Verdict, str] = {
    "passed": "green",
    "failed": "bold red",
    "partly": "green",
    "incomplete": "yellow",
    "refused": "cyan",
    "not declared": "dim",
    "not run": "dim",
}


def render(target: Target, listed: Sequence[ListedTest], *, width: int, color: bool) -> str:
    """The table of one target, as text for a terminal of ``width`` columns."""
    rows = grade(target, listed)
    title = f"{target.backend or 'nothing'} at {target.source or 'no place'}"
    table = Table(
        title=escape(title),
        caption=escape(target.name),
        box=None,
        padding=(0, 2, 0, 0),  # with all columns just what a terminal of 80 can hold
        pad_edge=False,
    )
    table.add_column("capability", no_wrap=True)
    for heading in ("tests", "passed", "failed", "refused", "tamper", "not run"):
        table.add_column(heading, justify="right")
    table.add_column("grade", no_wrap=True)
    for row in rows:
        counts = (row.tests, row.passed, row.failed, row.refused, row.tamper, row.not_run)
        table.add_row(row.subject, *(str(n) if n else "-" for n in counts), _colored(row))
    out = StringIO()
    console = Console(
        file=out, width=max(width, 80), force_terminal=color, color_system="standard" if color else None
    )
    console.print(table)
    console.print(escape(_summary(target, rows)), highlight=False)
    for reason, count in reasons(target, listed).most_common():
        console.print(escape(f"not run, {count}: {reason}"), highlight=False)
    if not is_whole(target, listed):
        console.print("This is no grade of the whole: run all tests for one.", highlight=False)
    return out.getvalue()


def _colored(row: Row) -> str:
    style = _STYLES[row.verdict]
    return f"[{style}]{row.verdict}[/{style}]"


def _summary(target: Target, rows: Sequence[Row]) -> str:
    promised = [row for row in rows if row.declared]
    proven = sum(row.verdict == "passed" for row in promised)
    durable = "yes" if Trait.DURABLE in target.declared else "no"
    multiprocess = "yes" if Trait.MULTIPROCESS in target.declared else "no"
    partly = sum(row.verdict == "partly" for row in promised)
    proven_text = f"proven: {proven} of {len(promised)} promised" + (f", {partly} partly" if partly else "")
    return f"durable: {durable}   multiprocess: {multiprocess}   {proven_text}"
