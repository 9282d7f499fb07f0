"""``oacp-storage compare``: two storages, record by record."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from oacp_storage.copying import Comparison, compare_storages
from oacp_storage.existing import open_existing
from oacp_storage.exits import Status
from oacp_storage.screen import counted


def compare(
    one: Annotated[str, Parameter(name="--first", help="A STORAGE.")],
    other: Annotated[str, Parameter(name="--second", help="Another STORAGE.")],
) -> int:
    """Compare two storages record by record.

    Ids, sequences, times, versions and payloads must be the same, with types and key order. The exit status is 1
    when anything differs.
    """
    result = asyncio.run(_compare(one, other))
    for difference in result.shown:
        sys.stdout.write(f"{difference}\n")
    if result.differences > len(result.shown):
        sys.stdout.write(f"... and {result.differences - len(result.shown):,} more\n")
    sys.stdout.write(
        f"{counted(result.interactions, 'interaction')} and {counted(result.documents, 'document')} of "
        f"{counted(result.agents, 'agent')} "
        f"compared: {f'{result.differences:,} differ' if result.differences else 'all equal'}\n"
    )
    return Status.OK if result.equal else Status.FOUND


async def _compare(one: str, other: str) -> Comparison:
    async with open_existing(one) as first, open_existing(other) as second:
        return await compare_storages(first, second)
