"""Retention and the deletion of agents: transactions of bounded size, each with a receipt of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from oacp_storage_core import RetentionPick, StorageError
from oacp_storage_engine import DocKind, Erased, NotApplied, Trimmed, Unknown
from oacp_storage_mongo import layout
from oacp_storage_mongo.errors import DRIVER_ERRORS, INVALID_DOCUMENT, code_of, writing
from oacp_storage_mongo.finishing import Sending
from oacp_storage_mongo.heads import Heads
from oacp_storage_mongo.judged import fence, write_receipt
from oacp_storage_mongo.store import DURABLE, Changed, Store

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
        self, attempt: str, agents: Sequence[str], pick: RetentionPick, sending: Sending, *, limit: int
    ) -> Trimmed:
        """As ``Engine.trim``. What an earlier transaction of this call removed is counted whatever comes next."""
        sending.begin()
        deadline = sending.deadline
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

    async def erase(self, attempt: str, agent: str, sending: Sending, *, begin: bool, limit: int) -> Erased:
        """As ``Engine.erase``."""
        sending.begin()
        deadline = sending.deadline
        self._heads.forget(agent)

        async def once() -> Erased:
            return await self._erase(attempt, agent, begin=begin, limit=limit, deadline=deadline)

        try:
            return await self._store.again(once, deadline)
        finally:
            self._heads.forget(agent)

    async def complete(self, deadline: float) -> bool:
        """Complete what other processes began to erase and did not end; whether there is more after the deadline.

        What is erased is hidden already, so a failure is nobody's: the next opening goes on.
        """
        store = self._store
        with suppress(StorageError):
            pending = await store.all_of(store.erasures, [{"$match": {"namespace": store.namespace}}])
            for agent in dict.fromkeys(one["agent_id"] for one in pending):
                while (await self._remove(agent, _STEP)).more:
                    if store.finishing.ending:
                        return False
                    if asyncio.get_running_loop().time() > deadline:
                        return True
        return False

    async def _erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        if not begin:
            await self._store.check_version()
            return await self._remove(agent, limit)
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
        if "floor" not in parts:
            return Erased(more=any("hidden" in one for one in found))
        listed = parts["floor"]
        last = max(listed["last"], parts["top"]["top"] if "top" in parts else 0)
        counted = await self._counted(agent, listed)

        async def work(session: Any) -> Erased:
            await self._hide(agent, listed, last, session)
            await write_receipt(store, attempt, list(counted), session)
            return counted

        hidden = await store.transact(work, deadline)
        if hidden.interactions + hidden.states + hidden.learning <= limit:  # it saves a call
            with suppress(NotApplied, Unknown):  # then the next call does it; the agent is gone already
                return hidden._replace(more=(await self._remove(agent, limit)).more)
        return hidden

    async def _counted(self, agent: str, listed: dict[str, Any]) -> Erased:
        """What the agent has. It stays true until the agent is hidden, or hiding it fails."""
        store = self._store
        of_log = store.of_agent(agent) | {"sequence": {"$gt": listed["floor"]}}
        of_it = store.of_agent(agent) | {"incarnation": listed["incarnation"]}
        found = await store.all_of(
            store.interactions,
            [
                {"$match": of_log},
                {"$count": "log"},
                store.union(store.documents, [{"$match": of_it}, {"$sortByCount": "$kind"}]),
            ],
        )
        kinds = {one["_id"]: one["count"] for one in found if "_id" in one}
        interactions = next((one["log"] for one in found if "log" in one), 0)
        return Erased(interactions, kinds.get(DocKind.STATE, 0), kinds.get(DocKind.LEARNING, 0), more=True)

    async def _hide(self, agent: str, listed: dict[str, Any], last: int, session: Any) -> None:
        """Take the agent off the list, remember its last sequence, and take the place after it."""
        store = self._store
        gone = await store.agents.delete_one(
            {"_id": listed["_id"], "incarnation": listed["incarnation"], "touched": listed["touched"]},
            session=session,
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
        hidden = {"_id": listed["incarnation"], **store.of_agent(agent), "hidden": last}
        await store.erasures.insert_one({**hidden, "schema": layout.SCHEMA_VERSION}, session=session)

    async def _remove(self, agent: str, limit: int) -> Erased:
        """Remove about so many of what is hidden under this name; it is counted already.

        Each statement can be repeated, so no transaction is needed, which a process that dies would leave open.
        """
        store = self._store
        left = limit
        try:
            for erasure in await store.all_of(store.erasures, [{"$match": store.of_agent(agent)}]):
                of_log = store.of_agent(agent) | {"sequence": {"$lte": erasure["hidden"]}}
                of_it = store.of_agent(agent) | {"incarnation": erasure["_id"]}
                keys = await self._keys(store.interactions, of_log, left)
                if keys:
                    await _durable(store.interactions).update_many({"_id": {"$in": keys}}, _EMPTIED)
                left -= len(keys)
                documents = await self._keys(store.documents, of_it, left) if left else []
                if documents:
                    await _durable(store.documents).delete_many({"_id": {"$in": documents}, **of_it})
                left -= len(documents)
                if not left:
                    return Erased(more=True)
                await _durable(store.erasures).delete_one({"_id": erasure["_id"]})
        except DRIVER_ERRORS as exc:
            if code_of(exc) == INVALID_DOCUMENT:
                raise await store.refused(exc) from exc
            raise writing(exc) from exc
        return Erased()

    async def _keys(self, collection: Any, condition: dict[str, Any], limit: int) -> list[Any]:
        stages: list[dict[str, Any]] = [
            {"$match": condition},
            {"$limit": limit},
            {"$project": {"_id": 1}},
        ]
        return [one["_id"] for one in await self._store.all_of(collection, stages, expected=limit)]


def _durable(collection: Any) -> Any:
    return collection.with_options(write_concern=DURABLE)


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
                {"$project": {"_id": 0, "sequence": 1}},  # which an index has, and the time too
            ],
            expected=self._limit,
        )
        if not found:
            return 0
        slot = layout.slot_of(store.namespace, self._agent)
        keys = [layout.record_key(slot, one["sequence"]) for one in found]
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
                {"_id": {"$in": keys}, "agent_id": self._agent},
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
