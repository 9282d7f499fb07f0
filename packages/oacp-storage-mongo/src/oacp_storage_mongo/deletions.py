"""Retention and the deletion of agents: transactions of bounded size, each with a receipt of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from oacp_storage_core import RetentionPick
from oacp_storage_engine import DocKind, Erased, NotApplied, Trimmed, Unknown
from oacp_storage_mongo import layout
from oacp_storage_mongo.heads import Heads
from oacp_storage_mongo.judged import fence, write_receipt
from oacp_storage_mongo.store import Changed, Store

_STEP = 2000  # interactions and documents that go in one transaction
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0

_EMPTIED = {
    "$unset": dict.fromkeys(
        ["agent_id", "namespace", "sequence", "id", "timestamp", "at_us", "crc", "body", "data"], ""
    ),
    "$currentDate": {"gone_at": True},
}
"""What makes of an interaction a place that is taken, which the server removes later."""


class Deletions:
    """The deletions of one engine."""

    def __init__(self, store: Store, heads: Heads) -> None:
        self._store = store
        self._heads = heads

    # --- retention ----------------------------------------------------------------------------------------

    async def count(self, agents: Sequence[str], pick: RetentionPick) -> int:
        """How many interactions the pick names."""
        count = 0
        await self._store.check_version()
        for agent in agents:
            condition = await picked(self._store, agent, pick)
            if condition is not None:
                found = await self._store.all_of(
                    self._store.interactions, [{"$match": condition}, {"$count": "n"}]
                )
                count += found[0]["n"] if found else 0
        return count

    async def trim(
        self, attempt: str, agents: Sequence[str], pick: RetentionPick, *, limit: int, deadline: float
    ) -> Trimmed:
        """As ``Engine.trim``. What an earlier transaction of this call removed is counted whatever comes next."""
        removed = 0
        loop = asyncio.get_running_loop()
        try:
            await self._store.check_version()
            for i, agent in enumerate(agents):
                n = 0
                while True:
                    if removed >= limit or (removed and loop.time() > deadline - 2.0):
                        return Trimmed(removed, more=True)
                    step = min(_STEP, limit - removed)
                    gone = await self._surely(
                        _Trim(self._store, f"{attempt}:{i}:{n}", agent, pick, step), deadline
                    )
                    removed += gone
                    n += 1
                    if gone < step:
                        break
        except NotApplied as exc:
            if removed:
                raise Unknown(str(exc)) from exc
            raise
        return Trimmed(removed)

    async def _surely(self, trim: _Trim, deadline: float) -> int:
        """Do one step, sending it again under its receipt until the deadline."""
        loop = asyncio.get_running_loop()
        pause, unknown = _FIRST_PAUSE, False
        while True:
            try:
                return await self._store.again(lambda: trim.once(deadline), deadline)
            except (NotApplied, Unknown) as exc:
                unknown = unknown or isinstance(exc, Unknown)
                if loop.time() + pause >= deadline:
                    raise (Unknown if unknown else NotApplied)(str(exc)) from exc
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    # --- agents -------------------------------------------------------------------------------------------

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        """As ``Engine.erase``."""
        self._heads.forget(agent)

        async def once() -> Erased:
            return await self._erase(attempt, agent, begin=begin, limit=limit, deadline=deadline)

        try:
            return await self._store.again(once, deadline)
        finally:
            self._heads.forget(agent)

    async def complete(self, deadline: float) -> None:
        """Complete what other processes began to erase and did not end."""
        store = self._store
        pending = await store.all_of(store.erasures, [{"$match": {"namespace": store.namespace}}])
        for agent in dict.fromkeys(one["agent_id"] for one in pending):
            more = True
            while more:
                step = await store.again(lambda name=agent: self._rest(name, deadline), deadline)  # type: ignore[misc]
                more = step.more

    async def _rest(self, agent: str, deadline: float) -> Erased:
        return await self._store.transact(lambda session: self._remove(agent, _STEP, session), deadline)

    async def _erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        store = self._store
        found = await store.all_of(
            store.meta,
            [
                {"$match": {"_id": layout.MARK}},
                store.union(store.receipts, [{"$match": {"_id": attempt}}]),
                store.union(store.agents, store.agent(agent)),
                store.union(store.interactions, store.last_of(agent)),
                store.union(store.erasures, [{"$match": store.of_agent(agent)}]),
            ],
        )
        parts = {part: one for one in found for part in ("version", "outcome", "floor", "top") if part in one}
        store.check_mark(parts.get("version", {}))
        if "outcome" in parts:
            return Erased(*parts["outcome"]["outcome"])
        listed = parts.get("floor") if begin else None
        if listed is None and not any("hidden" in one for one in found):
            return Erased()
        top = parts["top"]["top"] if "top" in parts else 0

        async def work(session: Any) -> Erased:
            if listed is not None:
                await self._hide(agent, listed, max(listed["last"], top), session)
            erased = await self._remove(agent, min(limit, _STEP), session)
            await write_receipt(store, attempt, list(erased), session)
            return erased

        return await store.transact(work, deadline)

    async def _hide(self, agent: str, listed: dict[str, Any], last: int, session: Any) -> None:
        """Take the agent off the list, remember its last sequence, and take the place after it."""
        store = self._store
        gone = await store.agents.delete_one(
            {"_id": listed["_id"], "incarnation": listed["incarnation"]}, session=session
        )
        if not gone.deleted_count:
            raise Changed
        await store.interactions.bulk_write(
            [fence(layout.slot_of(store.namespace, agent), last + 1)], session=session
        )
        await store.tombstones.update_one(
            {"_id": layout.tombstone_key(store.namespace, agent)},
            {"$set": {"last": last, "schema": layout.SCHEMA_VERSION}},
            upsert=True,
            session=session,
        )
        await store.erasures.insert_one(
            {
                "_id": listed["incarnation"],
                **store.of_agent(agent),
                "hidden": last,
                "schema": layout.SCHEMA_VERSION,
            },
            session=session,
        )

    async def _remove(self, agent: str, limit: int, session: Any) -> Erased:
        """Remove about so many of what is hidden under this name."""
        store = self._store
        interactions = 0
        kinds: dict[str, int] = {}
        left = limit
        cursor = store.erasures.find(store.of_agent(agent), session=session)
        for erasure in await cursor.to_list(None):
            of_log = store.of_agent(agent) | {"sequence": {"$lte": erasure["hidden"]}}
            cursor = store.interactions.find(of_log, {"_id": 1}, session=session)
            keys = [one["_id"] for one in await cursor.sort("sequence", 1).limit(left).to_list(None)]
            if keys:
                await store.interactions.update_many({"_id": {"$in": keys}}, _EMPTIED, session=session)
            interactions += len(keys)
            left -= len(keys)
            if not left:
                return _erased(interactions, kinds, more=True)
            of_it = store.of_agent(agent) | {"incarnation": erasure["_id"]}
            cursor = store.documents.find(of_it, {"kind": 1}, session=session)
            documents = await cursor.limit(left).to_list(None)
            if documents:
                keys = [one["_id"] for one in documents]
                await store.documents.delete_many({"_id": {"$in": keys}}, session=session)
            for one in documents:
                kinds[one["kind"]] = kinds.get(one["kind"], 0) + 1
            left -= len(documents)
            if not left:
                return _erased(interactions, kinds, more=True)
            await store.erasures.delete_one({"_id": erasure["_id"]}, session=session)
        return _erased(interactions, kinds)


def _erased(interactions: int, kinds: dict[str, int], *, more: bool = False) -> Erased:
    return Erased(interactions, kinds.get(DocKind.STATE, 0), kinds.get(DocKind.LEARNING, 0), more)


class _Trim:
    """One step of retention of one agent: at most ``limit`` of its interactions, under a receipt."""

    def __init__(self, store: Store, receipt: str, agent: str, pick: RetentionPick, limit: int) -> None:
        self._store = store
        self._receipt = receipt
        self._agent = agent
        self._pick = pick
        self._limit = limit

    async def once(self, deadline: float) -> int:
        """Do it, or tell what it did; raises ``Changed``."""
        store = self._store
        kept = await store.all_of(store.receipts, [{"$match": {"_id": self._receipt}}])
        if kept:
            return int(kept[0]["outcome"][0])
        condition = await picked(store, self._agent, self._pick)
        if condition is None:
            return 0
        found = await store.all_of(
            store.interactions,
            [
                {"$match": condition},
                {"$sort": {"sequence": 1}},
                {"$limit": self._limit},
                {"$project": {"_id": 1}},
            ],
            expected=self._limit,
        )
        if not found:
            return 0
        head = await store.one_of(store.interactions, store.last_of(self._agent)) or {"top": 0}

        async def work(session: Any) -> int:
            listed = await store.agents.update_one(
                {"_id": layout.agent_key(store.namespace, self._agent)},
                {"$max": {"last": head["top"]}, "$inc": {"touched": 1}},
                session=session,
            )
            if not listed.matched_count:
                raise Changed
            gone = await store.interactions.update_many(
                {"_id": {"$in": [one["_id"] for one in found]}, "agent_id": self._agent},
                _EMPTIED,
                session=session,
            )
            if gone.matched_count != len(found):
                raise Changed
            await write_receipt(store, self._receipt, [len(found)], session)
            return len(found)

        return await store.transact(work, deadline)


async def picked(store: Store, agent: str, pick: RetentionPick) -> dict[str, Any] | None:
    """The condition for what the pick names of this agent's log; None when that is nothing."""
    listed = await store.one_of(store.agents, store.agent(agent))
    if listed is None:
        return None
    above = listed["floor"]
    bounds: dict[str, Any] = {"$gt": above}
    if pick.keep_last is not None:
        kept: list[dict[str, Any]] = [
            {"$match": store.of_agent(agent) | {"sequence": {"$gt": above}}},
            {"$sort": {"sequence": -1}},
            {"$skip": pick.keep_last},
            {"$limit": 1},
            {"$project": {"_id": 0, "sequence": 1}},
        ]
        newest = await store.one_of(store.interactions, kept)
        if newest is None:
            return None
        bounds["$lte"] = newest["sequence"]
    condition = store.of_agent(agent) | {"sequence": bounds}
    if pick.before_us is not None:
        condition["at_us"] = {"$lt": pick.before_us}
    if pick.ids is not None:
        condition["id"] = {"$in": list(pick.ids)}
    return condition
