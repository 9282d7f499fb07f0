"""``oacp-storage agents``: the agents of a storage."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from cyclopts import Parameter

from oacp_storage.existing import open_existing
from oacp_storage.exits import Status
from oacp_storage.exporting import all_agents
from oacp_storage.parameters import AsJson, StorageArgument
from oacp_storage.screen import print_table, table, visible
from oacp_storage_core import CorruptDataError, Document, Interaction, Storage

_AT_ONCE = 100


def agents(
    storage: StorageArgument = None,
    *,
    prefix: Annotated[str, Parameter(help="Only agents whose names begin so.", show_default=False)] = "",
    as_json: AsJson = False,
) -> int:
    """List the agents of a storage.

    In code-point order, with the number of interactions, the time of the newest, and the version of the state.
    What of these is damaged is marked and named; the exit status is then 1.
    """
    return asyncio.run(_agents(storage, prefix, as_json))


async def _agents(source: str | None, prefix: str, as_json: bool) -> Status:
    status = Status.OK
    async with open_existing(source) as storage:
        if as_json:
            async for page in _pages(storage, prefix):
                sys.stdout.writelines(json.dumps(one) + "\n" for one in page)
                status = Status.FOUND if any(one["damaged"] for one in page) else status
            return status
        damages: list[str] = []
        rows = table("interactions", "newest", "state", "agent", right=("interactions",))
        async for page in _pages(storage, prefix):
            for one in page:
                damages += one["damaged"].values()
                rows.add_row(
                    f"{one['interactions']:,}",
                    _shown(one, "newest", lambda newest: newest.partition(".")[0].partition("+")[0]),
                    _shown(one, "state_version", lambda version: f"version {version}"),
                    visible(one["agent_id"]),
                )
        if rows.row_count:
            print_table(rows)
            sys.stdout.flush()
            sys.stderr.writelines(f"damaged: {visible(reason)}\n" for reason in damages)
            status = Status.FOUND if damages else status
        else:
            sys.stderr.write("the storage has no agents" + (f" named {prefix}...\n" if prefix else "\n"))
    return status


def _shown(one: dict[str, Any], field: str, words: Callable[[Any], str]) -> str:
    """A field of an agent in words; what is damaged is marked."""
    if one[field] is not None:
        return words(one[field])
    return "damaged" if field in one["damaged"] else "-"


async def _pages(storage: Storage, prefix: str) -> AsyncIterator[list[dict[str, Any]]]:
    names: list[str] = []
    async for agent_id in all_agents(storage, prefix):
        names.append(agent_id)
        if len(names) == _AT_ONCE:
            yield await asyncio.gather(*(_describe(storage, name) for name in names))
            names = []
    yield await asyncio.gather(*(_describe(storage, name) for name in names))


async def _describe(storage: Storage, agent_id: str) -> dict[str, Any]:
    damaged: dict[str, str] = {}
    newest: Interaction | None = None
    state: Document | None = None
    try:
        newest = await anext(aiter(storage.iter_interactions(agent_id, reverse=True, limit=1)), None)
    except CorruptDataError as exc:
        damaged["newest"] = str(exc)
    try:
        state = await storage.get_agent_state_document(agent_id)
    except CorruptDataError as exc:
        damaged["state_version"] = str(exc)
    return {
        "agent_id": agent_id,
        "interactions": await storage.count_interactions(agent_id),
        "newest": None if newest is None else newest.timestamp.isoformat(),
        "state_version": None if state is None else state.version,
        "damaged": damaged,
    }
