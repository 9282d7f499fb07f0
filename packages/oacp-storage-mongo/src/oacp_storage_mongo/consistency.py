"""What does not fit together in the store, beyond what reading every record shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Literal

from oacp_storage_core import Damage
from oacp_storage_mongo.layout import agent_key
from oacp_storage_mongo.store import Store

_AGENTS = 500


async def damages(store: Store) -> AsyncIterator[Damage]:
    """Interactions and documents of agents that are not listed. Looked at twice, as others may write meanwhile."""
    kinds: list[tuple[Any, Literal["interaction", "learning_data"], str]] = [
        (store.interactions, "interaction", "interactions"),
        (store.documents, "learning_data", "documents"),
    ]
    for collection, kind, what in kinds:
        after = ""
        while agents := await store.finishing.read(partial(_agents_in, store, collection, after)):
            after = agents[-1]
            for agent in await store.finishing.read(partial(_orphans, store, collection, agents)):
                yield Damage(kind, f"there are {what} of an agent that is not listed", agent)


async def _orphans(store: Store, collection: Any, agents: Sequence[str]) -> list[str]:
    """Those that are not listed, and have something in the collection."""
    suspected = await _unlisted(store, agents)
    if suspected:
        suspected = await _unlisted(store, suspected)
    return [agent for agent in suspected if await _has_any(store, collection, agent)]


async def _agents_in(store: Store, collection: Any, after: str) -> list[str]:
    """The next names of agents that have something in the collection."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"agent_id": {"$gt": after}, "namespace": store.namespace}},
        {"$group": {"_id": "$agent_id"}},
        {"$sort": {"_id": 1}},
        {"$limit": _AGENTS},
    ]
    return [one["_id"] for one in await store.all_of(collection, pipeline, expected=_AGENTS)]


async def _unlisted(store: Store, agents: Sequence[str]) -> list[str]:
    """Those that neither exist nor are being erased."""
    keys = [agent_key(store.namespace, agent) for agent in agents]
    pipeline: list[dict[str, Any]] = [
        {"$match": {"_id": {"$in": keys}}},
        store.union(
            store.erasures, [{"$match": {"agent_id": {"$in": list(agents)}, "namespace": store.namespace}}]
        ),
        {"$project": {"_id": 0, "agent_id": 1}},
    ]
    known = {one["agent_id"] for one in await store.all_of(store.agents, pipeline, expected=len(agents))}
    return [agent for agent in agents if agent not in known]


async def _has_any(store: Store, collection: Any, agent: str) -> bool:
    pipeline: list[dict[str, Any]] = [
        {"$match": store.of_agent(agent)},
        {"$limit": 1},
        {"$project": {"_id": 1}},
    ]
    return bool(await store.all_of(collection, pipeline))
