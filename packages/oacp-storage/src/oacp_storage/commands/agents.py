"""``oacp-storage agents``: the agents of a storage."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

from cyclopts import Parameter

from oacp_storage.existing import open_existing
from oacp_storage.exits import Status
from oacp_storage.exporting import all_agents
from oacp_storage.parameters import AsJson, StorageArgument
from oacp_storage.screen import print_table, table, visible
from oacp_storage_core import Storage

_AT_ONCE = 100


def agents(
    storage: StorageArgument = None,
    *,
    prefix: Annotated[str, Parameter(help="Only agents whose names begin so.", show_default=False)] = "",
    as_json: AsJson = False,
) -> int:
    """List the agents of a storage.

    In code-point order, with the number of interactions, the time of the newest, and the version of the state.
    """
    asyncio.run(_agents(storage, prefix, as_json))
    return Status.OK


async def _agents(source: str | None, prefix: str, as_json: bool) -> None:
    async with open_existing(source) as storage:
        if as_json:
            async for page in _pages(storage, prefix):
                sys.stdout.writelines(json.dumps(one) + "\n" for one in page)
            return
        rows = table("interactions", "newest", "state", "agent", right=("interactions",))
        async for page in _pages(storage, prefix):
            for one in page:
                newest, version = one["newest"], one["state_version"]
                rows.add_row(
                    f"{one['interactions']:,}",
                    "-" if newest is None else newest.partition(".")[0].partition("+")[0],
                    "-" if version is None else f"version {version}",
                    visible(one["agent_id"]),
                )
        if rows.row_count:
            print_table(rows)
        else:
            sys.stderr.write("the storage has no agents" + (f" named {prefix}...\n" if prefix else "\n"))


async def _pages(storage: Storage, prefix: str) -> AsyncIterator[list[dict[str, Any]]]:
    names: list[str] = []
    async for agent_id in all_agents(storage, prefix):
        names.append(agent_id)
        if len(names) == _AT_ONCE:
            yield await asyncio.gather(*(_describe(storage, name) for name in names))
            names = []
    yield await asyncio.gather(*(_describe(storage, name) for name in names))


async def _describe(storage: Storage, agent_id: str) -> dict[str, Any]:
    newest = [one async for one in storage.iter_interactions(agent_id, reverse=True, limit=1)]
    state = await storage.get_agent_state_document(agent_id)
    return {
        "agent_id": agent_id,
        "interactions": await storage.count_interactions(agent_id),
        "newest": newest[0].timestamp.isoformat() if newest else None,
        "state_version": None if state is None else state.version,
    }
