"""``oacp-storage copy``: everything from one storage to another."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from oacp_storage.copying import CopySummary, copy_storage
from oacp_storage.existing import open_existing
from oacp_storage.exits import Status, Stop
from oacp_storage.screen import counted, progress_bar, tell_of_damage
from oacp_storage_core import CorruptDataError, open_storage


def copy(
    source: Annotated[str, Parameter(name="--from", help="The STORAGE to read.")],
    target: Annotated[str, Parameter(name="--to", help="The STORAGE to write to.")],
    *,
    skip_damaged: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Leave out what is damaged, and say what that is."),
    ] = False,
) -> int:
    """Copy everything from one storage to another.

    Interactions keep their ids, sequences and times, and states, learning data and system state their versions.
    An interrupted copy can be run again and goes on where it was. Copy while nobody writes, or run it once more
    afterwards. A damaged record stops it, unless damaged ones are to be left out; the exit status is then 1.
    """
    if source == target:
        raise Stop(
            "the source and the target are the same storage: name another one to write to", Status.USAGE
        )
    try:
        summary = asyncio.run(_copy(source, target, skip_damaged))
    except CorruptDataError as exc:
        raise Stop(f"{exc}; to copy the rest, run it with --skip-damaged", Status.FAILED) from exc
    tell_of_damage(summary.left_out)
    sys.stdout.write(
        f"{counted(summary.interactions, 'interaction')} and {counted(summary.documents, 'document')} of "
        f"{counted(summary.agents, 'agent')} are in the target, all compared\n"
    )
    return Status.FOUND if summary.left_out.count else Status.OK


async def _copy(source: str, target: str, skip_damaged: bool) -> CopySummary:
    async with open_existing(source) as old, open_storage(target) as new:
        with progress_bar() as show:
            return await copy_storage(
                old,
                new,
                skip_damaged=skip_damaged,
                progress=lambda summary: show(summary.interactions, counted(summary.agents, "agent")),
            )
