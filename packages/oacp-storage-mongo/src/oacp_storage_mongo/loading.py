"""What has to be known to judge units, read as of one moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from oacp_storage_engine import DocKind, DocRef, Known, Snapshot
from oacp_storage_mongo import layout
from oacp_storage_mongo.encoding import record_of
from oacp_storage_mongo.heads import Head
from oacp_storage_mongo.store import Store

_AGENTS_AT_ONCE = 50  # whose last sequences one aggregation asks for
_IDS_AT_ONCE = 1000


@dataclass
class Loaded:
    """``agents`` that exist, with their last sequences; ``deleted`` ones that are remembered, with theirs.

    ``versions`` of documents that exist, without those of an earlier incarnation of their agent.
    """

    receipt: list[Any] | None = None
    agents: dict[str, Head] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    records: dict[tuple[str, str], Known] = field(default_factory=dict)
    versions: dict[DocRef, int] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """What the judge wants."""
        heads = {agent: head.last for agent, head in self.agents.items()}
        return Snapshot(self.deleted | heads, dict(self.records), dict(self.versions))


async def load(
    store: Store,
    agents: Sequence[str],
    *,
    ids: Sequence[tuple[str, str]] = (),
    documents: Sequence[DocRef] = (),
    receipt: str | None = None,
    known: Collection[str] = (),
) -> Loaded:
    """Read it all, but for the last sequences of agents that are ``known``, for which it may tell earlier ones.

    ``receipt`` is the id of an attempt that may have been applied.

    It is as of one moment, unless there are very many agents or ids. That does no harm: what was read is compared
    again by what is written.
    """
    loaded = Loaded()
    agents = list(agents)
    for i in range(0, max(len(agents), 1), _AGENTS_AT_ONCE):
        part = agents[i : i + _AGENTS_AT_ONCE]
        here = set(part)
        await _load_part(
            store,
            loaded,
            part,
            [pair for pair in ids if pair[0] in here],
            [ref for ref in documents if (ref.agent in here if ref.agent is not None else not i)],
            receipt if not i else None,
            known,
        )
    return loaded


async def _load_part(
    store: Store,
    loaded: Loaded,
    agents: list[str],
    ids: list[tuple[str, str]],
    documents: list[DocRef],
    receipt: str | None,
    known: Collection[str],
) -> None:
    namespace = store.namespace
    refs = {layout.document_key(namespace, ref.agent, ref.kind, ref.key): ref for ref in documents}
    graves = {layout.tombstone_key(namespace, agent): agent for agent in agents}
    pipeline: list[dict[str, Any]] = [{"$match": {"_id": layout.MARK}}]

    def add(collection: Any, stages: Iterable[dict[str, Any]]) -> None:
        pipeline.append(store.union(collection, list(stages)))

    if receipt is not None:
        add(store.receipts, [{"$match": {"_id": receipt}}])
    if agents:
        add(
            store.agents,
            [{"$match": {"_id": {"$in": [layout.agent_key(namespace, agent) for agent in agents]}}}],
        )
        add(store.tombstones, [{"$match": {"_id": {"$in": list(graves)}}}, {"$set": {"grave": True}}])
    for agent in agents:
        if agent not in known:
            add(store.interactions, store.last_of(agent))
    by_agent: dict[str, list[str]] = {}
    for agent, name in ids:
        by_agent.setdefault(agent, []).append(name)
    for agent, names in by_agent.items():
        for i in range(0, len(names), _IDS_AT_ONCE):
            wanted = {"id": {"$in": names[i : i + _IDS_AT_ONCE]}}
            projection = {"_id": 0, "agent_id": 1, "sequence": 1, "id": 1, "at_us": 1, "crc": 1, "body": 1}
            add(store.interactions, [{"$match": store.of_agent(agent) | wanted}, {"$project": projection}])
    if refs:
        add(
            store.documents,
            [{"$match": {"_id": {"$in": list(refs)}}}, {"$project": {"version": 1, "incarnation": 1}}],
        )

    tops: dict[str, int] = {}
    listed: dict[str, dict[str, Any]] = {}
    versions: dict[DocRef, tuple[Any, int]] = {}
    marked = False
    async with store.found(store.meta, pipeline, expected=len(agents) * 2 + len(refs)) as cursor:
        async for found in cursor:
            if found.get("_id") == layout.MARK:
                store.check_mark(found)
                marked = True
            elif "outcome" in found:
                loaded.receipt = found["outcome"]
            elif "top" in found:
                tops[found["of"]] = found["top"]
            elif "grave" in found:
                loaded.deleted[graves[found["_id"]]] = found["last"]
            elif "floor" in found:
                listed[found["agent_id"]] = found
            elif "body" in found:
                record = record_of(found)
                loaded.records[found["agent_id"], record.id] = Known(record.sequence, record.body)
            else:
                versions[refs[found["_id"]]] = (found.get("incarnation"), found["version"])
    if not marked:
        store.check_mark({})
    _keep_the_living(loaded, agents, listed, tops, versions)


def _keep_the_living(
    loaded: Loaded,
    agents: list[str],
    listed: dict[str, dict[str, Any]],
    tops: dict[str, int],
    versions: dict[DocRef, tuple[Any, int]],
) -> None:
    """Drop what belongs to an earlier incarnation of its agent and is still to be erased."""
    for agent in agents:
        found = listed.get(agent)
        if found is not None:
            last = max(found["last"], tops.get(agent, 0))
            loaded.agents[agent] = Head(found["incarnation"], last)
            loaded.deleted.pop(agent, None)
    for agent, name in list(loaded.records):
        found = listed.get(agent)
        if agent in agents and (found is None or loaded.records[agent, name].sequence <= found["floor"]):
            del loaded.records[agent, name]
    for ref, (incarnation, version) in versions.items():
        if ref.kind is not DocKind.SYSTEM:
            head = loaded.agents.get(ref.agent or "")
            if head is None or head.incarnation != incarnation:
                continue
        loaded.versions[ref] = version
