"""Units that have to be judged: read as of one moment, judged, and written in one transaction.

The transaction reads nothing. Each of its statements repeats what it relies on (places that are free, versions,
incarnations), so that it takes fewer round trips than one that reads, and fails where something has changed.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from oacp_storage_engine import (
    Applied,
    Conflict,
    DocKind,
    DocRef,
    Duplicate,
    NotApplied,
    Outcome,
    Plan,
    Unit,
    judge,
    wanted,
)
from oacp_storage_mongo import layout
from oacp_storage_mongo.encoding import document_document
from oacp_storage_mongo.finishing import Sending
from oacp_storage_mongo.heads import Head, Heads
from oacp_storage_mongo.inserting import insert_rows
from oacp_storage_mongo.loading import Loaded, load
from oacp_storage_mongo.store import Changed, Store


async def commit_judged(
    store: Store,
    heads: Heads,
    attempt: str,
    units: Mapping[int, Unit],
    sending: Sending,
    statement: Callable[[], AbstractContextManager[None]],
    refused: Callable[[], Awaitable[object]],
    *,
    repeated: bool,
) -> dict[int, Outcome]:
    """Apply the units, which are given by their places in the group, once for this attempt.

    ``repeated`` when some of it may have been applied before; the transaction is sent within ``statement``. ``refused``
    is awaited when another writer was faster. A receipt names the places that it tells of: an earlier sending may have
    had fewer left to judge.
    """
    first = not repeated
    asked = {i: _by_id(unit) for i, unit in units.items()} if repeated else units

    async def once() -> dict[int, Outcome]:
        nonlocal first
        sending.look()
        loaded = await _load(store, heads, list(asked.values()), None if first else attempt, cached=first)
        first = False
        kept = {i: _outcome(*one) for i, *one in loaded.receipt or ()}
        left = [i for i in units if i not in kept]
        snapshot = loaded.snapshot()
        actual = dict(snapshot.versions)
        lasts = dict(snapshot.heads)
        plan = judge([asked[i] for i in left], snapshot)
        judged = dict(zip(left, plan.outcomes, strict=True))
        outcomes = {i: kept[i] if i in kept else judged[i] for i in units}
        if not plan.rows and not plan.documents and not plan.heads:
            return outcomes
        writing = _Writing(store, loaded, plan, lasts, actual)
        receipt = None if all(_tells_by_ids(units[i]) for i in left) else attempt

        async def work(session: Any) -> None:
            await writing.write(session)
            if receipt is not None:
                await write_receipt(store, receipt, _packed(judged), session)
            sending.check()

        with statement():
            await store.transact(work, sending.deadline)
        for agent, last in plan.heads.items():
            heads.learn(agent, Head(writing.incarnations[agent], last))
        return outcomes

    async def forgetful() -> dict[int, Outcome]:
        try:
            return await once()
        except Changed:
            for unit in units.values():
                if unit.agent is not None:
                    heads.forget(unit.agent)
            await refused()
            raise

    outcomes = await store.again(forgetful, sending.deadline)
    if not repeated:
        return outcomes
    return {i: _as_first(units[i], outcome) for i, outcome in outcomes.items()}


async def write_receipt(store: Store, attempt: str, outcome: list[Any], session: Any) -> None:
    """Keep the outcome of an attempt; fails if there is one already."""
    await store.receipts.update_one(
        {"_id": attempt, "schema": {"$exists": False}},
        {"$set": {"outcome": outcome, "schema": layout.SCHEMA_VERSION}, "$currentDate": {"at": True}},
        upsert=True,
        session=session,
    )


def fence(slot: bytes, sequence: int) -> UpdateOne:
    """Takes a place in a log without an interaction, for as long as somebody may know an older end of it.

    It fails with a duplicate key if the place is taken, by another fence too: of two that saw the same end of a log,
    and jump or delete its agent, one has to look again.
    """
    return UpdateOne(
        {"_id": layout.record_key(slot, sequence), "schema": {"$exists": False}},  # which matches nothing
        {"$set": {"fence": True, "schema": layout.SCHEMA_VERSION}, "$currentDate": {"gone_at": True}},
        upsert=True,
    )


async def _load(
    store: Store, heads: Heads, units: Sequence[Unit], receipt: str | None, *, cached: bool
) -> Loaded:
    """``cached``: what is remembered of agents may do for their last sequences, since writing compares them again.

    Raises ``Changed`` when something else is remembered of an agent than what is there.
    """
    want = wanted(units)
    remembered = {agent: heads.get(agent) for agent in want.agents} if cached else {}
    known = {agent: head for agent, head in remembered.items() if head is not None}
    if known and len(known) == len(want.agents) and not want.ids and not want.documents:
        return Loaded(agents=known)
    loaded = await load(
        store, want.agents, ids=want.ids, documents=want.documents, receipt=receipt, known=frozenset(known)
    )
    for agent, head in known.items():
        found = loaded.agents.get(agent)
        if found is None or found.incarnation != head.incarnation:
            raise Changed
        loaded.agents[agent] = max(found, head, key=_last)
    return loaded


def _last(head: Head) -> int:
    return head.last


class _Writing:
    """The statements of one plan."""

    def __init__(
        self, store: Store, loaded: Loaded, plan: Plan, lasts: dict[str, int], actual: dict[DocRef, int]
    ) -> None:
        self._store = store
        self._plan = plan
        self._lasts = lasts
        self._actual = actual
        self._known = loaded.agents
        self._deleted = loaded.deleted
        self.incarnations = {
            agent: loaded.agents[agent].incarnation if agent in loaded.agents else os.urandom(12)
            for agent in plan.heads
        }

    async def write(self, session: Any) -> None:
        """Write it all. Raises ``Changed``, or the driver's error, where something is not as it was read."""
        store = self._store
        agents, matching = self._agents()
        if agents:
            found = await store.agents.bulk_write(agents, session=session)
            if found.matched_count != matching:
                raise Changed
        fences = self._fences()
        if fences:
            await store.interactions.bulk_write(fences, session=session)
        await insert_rows(store, self._plan.rows, session)
        documents, matching, deleted = self._documents()
        if documents:
            found = await store.documents.bulk_write(documents, session=session)
            if found.matched_count + found.upserted_count != matching or found.deleted_count != deleted:
                raise Changed

    def _agents(self) -> tuple[list[Any], int]:
        """New agents; and a touch of those that exist, where nothing else keeps them from being deleted meanwhile.

        An agent that is appended to is kept by the place after its log, which its deletion takes too.
        """
        store, namespace = self._store, self._store.namespace
        changes: list[Any] = []
        with_documents = {ref.agent for ref in self._plan.documents}
        matching = 0
        for agent in self._plan.heads:
            key = layout.agent_key(namespace, agent)
            if agent not in self._known:
                last = self._lasts.get(agent, 0)
                changes.append(
                    InsertOne(
                        {
                            "_id": key,
                            **store.of_agent(agent),
                            "incarnation": self.incarnations[agent],
                            "floor": last,
                            "last": last,
                            "touched": 0,
                            "schema": layout.SCHEMA_VERSION,
                        }
                    )
                )
            elif agent in with_documents:
                matching += 1
                changes.append(
                    UpdateOne({"_id": key, "incarnation": self.incarnations[agent]}, {"$inc": {"touched": 1}})
                )
        return changes, matching

    def _fences(self) -> list[Any]:
        """What to take away before an agent that comes again, and to put where a log jumps."""
        namespace = self._store.namespace
        fences: list[Any] = []
        slots = {agent: layout.slot_of(namespace, agent) for agent in self._plan.heads}
        for agent, slot in slots.items():
            if agent in self._deleted:  # and comes again
                following = layout.record_key(slot, self._lasts.get(agent, 0) + 1)
                fences.append(DeleteOne({"_id": following, "fence": True}))
        lasts = dict(self._lasts)
        for agent, sequence, _ in self._plan.rows:
            if sequence > lasts.get(agent, 0) + 1:
                fences.append(fence(slots[agent], lasts.get(agent, 0) + 1))
            lasts[agent] = sequence
        return fences

    def _documents(self) -> tuple[list[Any], int, int]:
        """Puts and deletions, each under the version that was read."""
        namespace = self._store.namespace
        changes: list[Any] = []
        matching = deleted = 0
        for ref, stored in self._plan.documents.items():
            incarnation = None if ref.agent is None else self.incarnations[ref.agent]
            where: dict[str, Any] = {"_id": layout.document_key(namespace, ref.agent, ref.kind, ref.key)}
            actual = self._actual.get(ref, 0)
            if stored is None:
                if actual:  # otherwise it was put and deleted within the group
                    deleted += 1
                    changes.append(DeleteOne({**where, "incarnation": incarnation, "version": actual}))
                continue
            document = document_document(namespace, ref, incarnation, stored.version, stored.put)
            matching += 1
            if actual:
                where |= {"incarnation": incarnation, "version": actual}
                changes.append(ReplaceOne(where, document))
            elif ref.kind is DocKind.SYSTEM:
                changes.append(InsertOne(document))
                matching -= 1
            else:  # one of an earlier incarnation may be there, which is to be erased
                where["incarnation"] = {"$ne": incarnation}
                changes.append(ReplaceOne(where, document, upsert=True))
        return changes, matching, deleted


def _by_id(unit: Unit) -> Unit:
    """The unit with all ids looked up, because an earlier sending may have stored them."""
    return unit._replace(appends=tuple(append._replace(given=True) for append in unit.appends))


def _tells_by_ids(unit: Unit) -> bool:
    """Whether a repetition can tell from the ids alone what became of the unit."""
    return not unit.puts and not unit.turn


def _as_first(unit: Unit, outcome: Outcome) -> Outcome:
    """The outcome of a repetition as the first sending had it: an id made by us was not there before."""
    if not isinstance(outcome, Applied) or outcome.replayed:
        return outcome
    return outcome._replace(existing=tuple(i for i in outcome.existing if unit.appends[i].given))


def _packed(outcomes: Mapping[int, Outcome]) -> list[Any]:
    return [[i, type(outcome).__name__, *outcome] for i, outcome in outcomes.items()]


def _outcome(kind: str, *fields: Any) -> Outcome:
    if kind == "Applied":
        sequences, versions, existing, replayed = fields
        return Applied(tuple(sequences), tuple(versions), tuple(existing), replayed)
    if kind == "Conflict":
        return Conflict(*fields)
    if kind == "Duplicate":
        return Duplicate(*fields)
    raise NotApplied(f"a receipt holds the unknown outcome {kind!r}")
