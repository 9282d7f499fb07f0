"""Reads: each as of one moment that a majority has, and only of the present incarnation of an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from oacp_storage_engine import Doc, DocKind, Hint, Page, Record
from oacp_storage_mongo.encoding import DOCUMENT, RECORD, doc_of, record_of
from oacp_storage_mongo.layout import agent_key, document_key, names_in
from oacp_storage_mongo.pushdown import conditions
from oacp_storage_mongo.store import Store

_WINDOW = 50_000  # interactions that one filtered page looks at, so that it ends in time
_HIDDEN = "hidden"
_SIZED = 128  # records after which their mean size tells how many to ask for


class Reading:
    """The reads of one engine."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read_log(
        self,
        agent: str,
        low: int,
        high: int | None,
        *,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None,
    ) -> Page:
        """As ``Engine.read_log``."""
        if hint is None or not limit:
            return await self._page(agent, low, high, reverse, limit, max_bytes, hint)
        pivot = await self._pivot(agent, low, high, reverse)
        if pivot is None:
            return await self._page(agent, low, high, reverse, limit, max_bytes, hint)
        if reverse:
            page = await self._page(agent, pivot, high, reverse, limit, max_bytes, hint)
            beyond = pivot + 1
        else:
            page = await self._page(agent, low, pivot, reverse, limit, max_bytes, hint)
            beyond = pivot - 1
        if page.next is None and page.head:
            page = page._replace(next=beyond)
        return page

    async def _pivot(self, agent: str, low: int, high: int | None, reverse: bool) -> int | None:
        """Where a filtered page has to end; None when there is not that much."""
        store = self._store
        pipeline: list[dict[str, Any]] = [
            {"$match": store.of_agent(agent) | {"sequence": _between(low, high)}},
            {"$sort": {"sequence": -1 if reverse else 1}},
            {"$skip": _WINDOW},
            {"$limit": 1},
            {"$project": {"_id": 0, "sequence": 1}},
        ]
        found = await store.one_of(store.interactions, pipeline)
        return None if found is None else int(found["sequence"])

    async def _page(
        self,
        agent: str,
        low: int,
        high: int | None,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None,
    ) -> Page:
        store = self._store
        pipeline: list[dict[str, Any]] = [
            *store.agent(agent),
            store.union(store.interactions, store.last_of(agent)),
        ]
        if limit:
            matching = store.of_agent(agent) | {"sequence": _between(low, high)} | conditions(hint)
            pipeline.append(
                store.union(
                    store.interactions,
                    [
                        {"$match": matching},
                        {"$sort": {"sequence": -1 if reverse else 1}},
                        {"$limit": limit},
                        {"$project": RECORD},
                    ],
                )
            )
        async with store.found(store.agents, pipeline, expected=limit, lenient=True) as cursor:
            listed = await anext(aiter(cursor), None)
            if listed is None or "floor" not in listed:  # nothing of it is visible
                return Page([], 0)
            floor, head = listed["floor"], listed["last"]
            records: list[Record] = []
            size = 0
            full = False
            async for found in cursor:
                if "top" in found:
                    head = max(head, found["top"])
                    continue
                record = record_of(found)
                if record.sequence <= floor:  # of an agent of this name that is being erased
                    break
                records.append(record)
                size += len(record.body)
                if size >= max_bytes or len(records) == limit:
                    full = True
                    break
                if len(records) == _SIZED:
                    left = (max_bytes - size) * _SIZED // max(size, 1)
                    store.driver.ask_for(cursor, max(left, 2))
            else:
                return Page(records, head)
        if full:
            return Page(records, head, records[-1].sequence)
        if reverse:
            return Page(records, head)
        return await self._page(agent, max(low, floor), high, reverse, limit, max_bytes, hint)

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        """As ``Engine.find``."""
        store = self._store
        pipeline: list[dict[str, Any]] = [
            *store.agent(agent),
            store.union(
                store.interactions,
                [{"$match": store.of_agent(agent) | {"id": {"$in": list(ids)}}}, {"$project": RECORD}],
            ),
        ]
        found = await store.all_of(store.agents, pipeline, expected=len(ids))
        if not found or "floor" not in found[0]:
            return []
        records = map(record_of, found[1:])
        return [record for record in records if record.sequence > found[0]["floor"]]

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int:
        """As ``Engine.count``."""
        store = self._store
        matching = store.of_agent(agent) | {"sequence": _between(low, high)} | conditions(hint)
        pipeline: list[dict[str, Any]] = [
            *store.agent(agent),
            store.union(store.interactions, [{"$match": matching}, {"$count": "n"}]),
        ]
        found = await store.all_of(store.agents, pipeline)
        if not found or "floor" not in found[0]:
            return 0
        if found[0]["floor"] > low:
            return await self.count(agent, found[0]["floor"], high, hint)
        return int(found[1]["n"]) if len(found) > 1 else 0

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        """As ``Engine.read_docs``."""
        namespace = self._store.namespace
        wanted = [document_key(namespace, agent, kind, key) for key in keys]
        by_key = {doc.key: doc async for doc in self._docs(agent, [{"$match": {"_id": {"$in": wanted}}}])}
        return [by_key.get(key) for key in keys]

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        """As ``Engine.scan_docs``."""
        found: list[Doc] = []
        bounds: dict[str, str] = names_in(prefix)
        while len(found) < limit:
            if after is not None and after >= prefix:
                bounds["$gt"] = after
            matching = {"agent_id": agent, "namespace": self._store.namespace, "kind": str(kind)}
            stages: list[dict[str, Any]] = [
                {"$match": matching | {"key": bounds}},
                {"$sort": {"key": 1}},
                {"$limit": limit - len(found)},
            ]
            seen = 0
            async for doc in self._docs(agent, stages, hidden=True):
                seen += 1
                after = doc.key
                if doc.damage != _HIDDEN:
                    found.append(doc)
            if seen < stages[-1]["$limit"]:
                break
        return found

    async def _docs(
        self, agent: str | None, stages: list[dict[str, Any]], *, hidden: bool = False
    ) -> AsyncIterator[Doc]:
        """What is found in ``documents``; ``hidden`` ones, of an earlier incarnation, are marked, or left out."""
        store = self._store
        stages = [*stages, {"$project": DOCUMENT}]
        if agent is None:
            async with store.found(store.documents, stages) as cursor:
                async for found in cursor:
                    yield doc_of(found)
            return
        pipeline: list[dict[str, Any]] = [*store.agent(agent), store.union(store.documents, stages)]
        async with store.found(store.agents, pipeline) as cursor:
            listed = await anext(aiter(cursor), None)
            if listed is None or "floor" not in listed:
                return
            async for found in cursor:
                if found.get("incarnation") == listed["incarnation"]:
                    yield doc_of(found)
                elif hidden:
                    yield doc_of(found)._replace(damage=_HIDDEN)

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        """As ``Engine.scan_agents``."""
        store = self._store
        bounds = names_in(agent_key(store.namespace, prefix))
        if after is not None and after >= prefix:
            bounds["$gt"] = agent_key(store.namespace, after)
        pipeline: list[dict[str, Any]] = [
            {"$match": {"_id": bounds}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
            {"$project": {"_id": 0, "agent_id": 1}},
        ]
        return [found["agent_id"] for found in await store.all_of(store.agents, pipeline, expected=limit)]


def _between(low: int, high: int | None) -> dict[str, int]:
    return {"$gt": low} if high is None else {"$gt": low, "$lt": high}
