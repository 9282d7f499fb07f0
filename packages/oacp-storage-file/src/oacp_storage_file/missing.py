"""Missing interactions: where a log lacks what its manifest says it has, reading it must not pass over that."""

from __future__ import annotations

import shlex

from oacp_storage_engine import Record
from oacp_storage_file.log_view import LogView
from oacp_storage_file.runs import Run, between


def accept_command(root: str) -> str:
    """The command line that accepts what is lost of the store in this directory."""
    return f"python -m oacp_storage_file accept {shlex.quote(root)}"


def name_missing(
    view: LogView,
    records: list[Record],
    low: int,
    end: int,
    reached: int | None,
    limit: int,
    *,
    reverse: bool,
) -> tuple[list[Record], int | None]:
    """What was read between ``low`` and ``end`` (exclusive) up to ``reached``, with a damaged record for each gap.

    That has the last sequence of its gap in reading order, so that reading goes on after it. Returns the records and
    where to go on, None at the end.
    """
    before, stop = (end, low) if reverse else (low, end)
    if reached is not None:
        stop = reached - 1 if reverse else reached + 1
    if abs(stop - before) - 1 == len(records):
        return records, reached  # there is no gap at all
    found: list[Record] = []
    for record in records:
        if abs(record.sequence - before) > 1:
            _add_gap(view, found, before, record.sequence)
        found.append(record)
        before = record.sequence
    if reached is None:
        _add_gap(view, found, before, stop)
    if len(found) > len(records):
        view.check_current()
    if len(found) > limit:
        found = found[:limit]
        reached = found[-1].sequence
    return found, reached


def _add_gap(view: LogView, found: list[Record], before: int, after: int) -> None:
    gap = between(view.present, min(before, after), max(before, after))
    if gap is not None:
        found.append(Record(gap[1] if before < after else gap[0], "", 0, b"", 0, _reason(view, gap)))


def _reason(view: LogView, gap: Run) -> str:
    first, last = gap
    which = f"interaction {first} is" if first == last else f"interactions {first} to {last} are"
    return (
        f"{which} missing: files in {view.directory}, or lines of them, were removed by something else than "
        f"oacp-storage. Put them back, from a backup for example, or accept the loss: {accept_command(view.root)}"
    )
