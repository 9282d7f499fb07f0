"""``oacp-storage copy``: everything from one storage to another."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from oacp_storage.copying import copy_storage
from oacp_storage.existing import open_existing
from oacp_storage.exits import Status
from oacp_storage.screen import counted, progress_bar
from oacp_storage_core import open_storage


def copy(
    source: Annotated[str, Parameter(name="--from", help="The STORAGE to read.")],
    target: Annotated[str, Parameter(name="--to", help="The STORAGE to write to.")],
) -> int:
    """Copy everything from one storage to another.

    Interactions keep their ids, sequences and times, and states, learning data and system state their versions.
    An interrupted copy can be run again and goes on where it was. Copy while nobody writes, or run it once more
    afterwards.
    """
    asyncio.run(_copy(source, target))
    return Status.OK


async def _copy(source: str, target: str) -> None:
    async with open_existing(source) as old, open_storage(target) as new:
        with progress_bar() as show:
            summary = await copy_storage(
                old,
                new,
                progress=lambda summary: show(summary.interactions, counted(summary.agents, "agent")),
            )
    sys.stdout.write(
        f"{counted(summary.interactions, 'interaction')} and {counted(summary.documents, 'document')} of "
        f"{counted(summary.agents, 'agent')} "
        "are in the target\n"
    )
