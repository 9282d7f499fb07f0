"""``oacp-storage import``: interactions from JSON Lines into a storage."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

from cyclopts import Parameter

from oacp_storage.exits import Status
from oacp_storage.heap import give_back_large_blocks
from oacp_storage.importing import ImportSummary, import_lines
from oacp_storage.lines import Input, open_input
from oacp_storage.parameters import STREAM, TargetStorage
from oacp_storage.screen import counted, progress_bar, visible
from oacp_storage_core import open_storage


def import_(
    file: Annotated[
        str,
        STREAM,
        Parameter(help="A file of JSON Lines, plain, .gz or .zst (told by its first bytes); - is stdin."),
    ],
    /,
    to: TargetStorage = None,
    *,
    strict: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Stop at the first malformed line.")
    ] = False,
) -> int:
    """Bring interactions from a file of JSON Lines into a storage.

    Each line is {"agent_id": ..., "interaction": {...}}, with "id" and "timestamp" (ISO 8601 with a time zone)
    where they are known. Importing the same file again adds nothing twice; an interrupted import goes on where
    it was. Malformed lines are reported and left out; the exit status is then 1.
    """
    begun = time.monotonic()
    give_back_large_blocks()
    with open_input(file) as source:
        summary = asyncio.run(_import(source, to, strict))
    for number, reason in summary.reasons:
        sys.stderr.write(f"line {number}: {visible(reason)}\n")
    if summary.malformed > len(summary.reasons):
        sys.stderr.write(
            f"... and {counted(summary.malformed - len(summary.reasons), 'more malformed line')}\n"
        )
    if strict and summary.malformed:
        sys.stderr.write("stopped there; the lines before it are stored\n")
    became = f"{summary.added:,} added, {summary.already_there:,} already there"
    if summary.there_now:
        became = f"{summary.there_now:,} are there (the storage does not tell which were there before)"
    sys.stdout.write(
        f"{counted(summary.lines, 'line')} in {time.monotonic() - begun:.1f} s: {became}, "
        f"{summary.malformed:,} malformed\n"
    )
    return Status.FOUND if summary.malformed else Status.OK


async def _import(source: Input, to: str | None, strict: bool) -> ImportSummary:
    async with open_storage(to) as storage:
        with progress_bar(source.size) as show:
            return await import_lines(
                storage,
                source.lines(),
                default_time=source.modified,
                strict=strict,
                progress=lambda summary: show(source.consumed, counted(summary.lines, "line")),
            )
