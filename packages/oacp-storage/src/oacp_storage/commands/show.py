"""``oacp-storage show``: one agent."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from oacp_storage.damaged import Damages, readable, undamaged, undamaged_documents
from oacp_storage.existing import open_existing
from oacp_storage.exits import Status, Stop
from oacp_storage.exporting import has_agent
from oacp_storage.parameters import AsJson, StorageArgument
from oacp_storage.screen import counted, visible
from oacp_storage_core import Capability, Document, Storage

_LONG = 2_000
_LEARNING = 100


def show(
    agent: Annotated[str, Parameter(help="The agent's name.")],
    storage: StorageArgument = None,
    *,
    last: Annotated[int, Parameter(validator=Number(gte=0), help="How many interactions to show.")] = 10,
    as_json: AsJson = False,
) -> int:
    """Show an agent: its newest interactions, state and learning data.

    Long payloads are cut; --json prints everything as one object. What is damaged is named in its place; the exit
    status is then 1.
    """
    described = asyncio.run(_show(agent, storage, last))
    text = json.dumps(described, indent=2) if as_json else "\n".join(_in_words(described))
    sys.stdout.write(f"{text}\n")
    return Status.FOUND if described["damaged"] else Status.OK


async def _show(agent_id: str, source: str | None, last: int) -> dict[str, Any]:
    async with open_existing(source) as storage:
        if Capability.AGENTS not in storage.capabilities:
            return await _describe_plainly(storage, agent_id, last)
        if await has_agent(storage, agent_id):
            return await _describe(storage, agent_id, last)
        raise Stop(f"the storage has no agent {agent_id!r}", Status.USAGE)


def _in_words(described: dict[str, Any]) -> list[str]:
    count = "" if described["count"] is None else f": {counted(described['count'], 'interaction')}"
    lines = [f"{visible(described['agent_id'])}{count}"]
    if described["state"] is not None:
        lines += ["", *_document("state", described["state"])]
    for document in described["learning"]:
        lines += ["", *_document(f"learned {visible(document['key'])}", document)]
    if described["more_learning"]:
        lines += ["", "... and more learning data"]
    for one in described["interactions"]:
        title = f"#{one['sequence']}  {one['timestamp']}  {visible(one['id'])}" if "id" in one else "-"
        lines += ["", title, _payload(one["interaction"])]
    lines += [line for reason in described["damaged"] for line in ("", f"damaged: {visible(reason)}")]
    return lines


async def _describe(storage: Storage, agent_id: str, last: int) -> dict[str, Any]:
    damages = Damages()
    history = storage.iter_interactions(agent_id, reverse=True, limit=last)
    newest = [one async for one in undamaged(history, damages)]
    state = await readable(storage.get_agent_state_document(agent_id), damages)
    learning: list[Document] = []
    listed = undamaged_documents(partial(storage.list_learning_data, agent_id), damages)
    async with aclosing(listed) as documents:
        async for document in documents:
            learning.append(document)
            if len(learning) > _LEARNING:
                break
    return {
        "agent_id": agent_id,
        "count": await storage.count_interactions(agent_id),
        "state": None if state is None else _plain(state),
        "learning": [_plain(document) for document in learning[:_LEARNING]],
        "more_learning": len(learning) > _LEARNING,
        "interactions": [
            {
                "sequence": one.sequence,
                "id": one.id,
                "timestamp": one.timestamp.isoformat(),
                "interaction": one.data,
            }
            for one in reversed(newest)
        ],
        "damaged": [*damages.reasons, *_more(damages)],
    }


def _more(damages: Damages) -> list[str]:
    more = damages.count - len(damages.reasons)
    return [f"... and {counted(more, 'more damaged record')}"] if more else []


async def _describe_plainly(storage: Storage, agent_id: str, last: int) -> dict[str, Any]:
    """From a backend with the four methods alone, which cannot tell whether there is such an agent."""
    state = await storage.get_agent_state(agent_id)
    interactions = await storage.get_interactions(agent_id, max(last, 1))
    if state is None and not interactions:
        raise Stop(f"the storage has nothing of an agent {agent_id!r}", Status.USAGE)
    return {
        "agent_id": agent_id,
        "count": None,
        "state": None if state is None else {"data": state},
        "learning": [],
        "more_learning": False,
        "interactions": [{"interaction": one} for one in (interactions if last else [])],
        "damaged": [],
    }


def _plain(document: Document) -> dict[str, Any]:
    return {
        "key": document.key,
        "version": document.version,
        "updated_at": document.updated_at.isoformat(),
        "data": document.data,
    }


def _document(title: str, document: dict[str, Any]) -> list[str]:
    version = f", version {document['version']}, {document['updated_at']}" if "version" in document else ""
    return [f"{title}{version}", _payload(document["data"])]


def _payload(data: dict[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, indent=2)
    shown = text if len(text) <= _LONG else f"{text[:_LONG]} ... ({len(text):,} characters; --json shows all)"
    return "\n".join(f"  {visible(line)}" for line in shown.split("\n"))
