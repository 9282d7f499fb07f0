"""Commits: plain appends in one statement, everything else judged and written in one transaction.

A plain append (one interaction, its id made by us) takes the place after the agent's last one that this process
knows of. Its ``_id`` is that place, and exists once: a place that another process took in the meantime is refused,
the log is looked at again, and the append takes the next one. The statement ends at the first refusal, so no later
interaction of the agent can be there without the earlier one. No transaction is needed, and one round trip does.

What keeps this exact:

- A place that was ever taken stays taken for an hour after its interaction was deleted (``layout``), and a process
  forgets what it knows of a log after a minute (``heads``).
- Where a log jumps (an import) or ends (its agent is deleted), the next place is taken by a fence in the same
  transaction, which stops whoever knows an older end of the log.
- After a lost reply nothing is assumed: the units are judged by their ids in a transaction. If the lost statement
  arrives after all, its places are taken.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from pymongo import errors as driver

from oacp_storage_core import OutcomeUnknownError, SchemaVersionError, StorageError
from oacp_storage_engine import Applied, NotApplied, Outcome, Unit, Unknown
from oacp_storage_mongo.encoding import record_document
from oacp_storage_mongo.errors import (
    DRIVER_ERRORS,
    DUPLICATE_KEY,
    INVALID_DOCUMENT,
    code_of,
    writing,
)
from oacp_storage_mongo.heads import Head, Heads
from oacp_storage_mongo.judged import commit_judged
from oacp_storage_mongo.layout import slot_of
from oacp_storage_mongo.loading import load
from oacp_storage_mongo.store import DURABLE, Store

_LONGEST_PAUSE = 0.05


@dataclass
class _Group:
    """The units of an attempt, and the outcomes that are known.

    ``unknown`` when a sending may have been applied; ``under_way`` counts sendings, since one that nobody waits for
    any more goes on.
    """

    attempt: str = ""
    units: Sequence[Unit] = ()
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    unknown: bool = False
    under_way: int = 0


class Commits:
    """The commits of one engine, of which there is one at a time."""

    def __init__(self, store: Store, heads: Heads) -> None:
        self._store = store
        self._heads = heads
        self._interactions = store.interactions.with_options(write_concern=DURABLE)
        self._group = _Group()

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        """Apply the units."""
        state = self._group
        if state.attempt != attempt or state.units != units:
            state = self._group = _Group(attempt, units)
        repeated = state.unknown or state.under_way > 0
        state.under_way += 1
        try:
            return await self._commit(state, repeated, deadline)
        except NotApplied as exc:
            if repeated or state.outcomes:
                raise Unknown(str(exc)) from exc
            raise
        except StorageError as exc:
            state.unknown = state.unknown or isinstance(exc, Unknown)
            if state.outcomes and not isinstance(exc, Unknown):
                raise OutcomeUnknownError(
                    f"{len(state.outcomes)} writes of a group were applied, and then: {exc}"
                ) from exc
            raise
        except BaseException:
            state.unknown = True
            raise
        finally:
            state.under_way -= 1
            if len(state.outcomes) < len(units):
                self._forget(units)

    async def _commit(self, state: _Group, repeated: bool, deadline: float) -> list[Outcome]:
        units = state.units
        if not repeated:
            await self._append(state, deadline)
        judged = [i for i in range(len(units)) if i not in state.outcomes]
        if judged:
            outcomes = await commit_judged(
                self._store,
                self._heads,
                state.attempt,
                [units[i] for i in judged],
                repeated=repeated,
                deadline=deadline,
            )
            state.outcomes.update(zip(judged, outcomes, strict=True))
        if self._group is state:  # otherwise nobody waited for this any more
            self._group = _Group()
        return [state.outcomes[i] for i in range(len(units))]

    def _forget(self, units: Sequence[Unit]) -> None:
        for unit in units:
            if unit.agent is not None:
                self._heads.forget(unit.agent)

    async def _append(self, state: _Group, deadline: float) -> None:
        """Write the plain appends of agents that exist, and of which nothing else is in the group."""
        others = {unit.agent for unit in state.units if not _is_plain(unit)}
        plain = [i for i, unit in enumerate(state.units) if unit.agent not in others]
        loop = asyncio.get_running_loop()
        pause = 0.0
        while plain:
            heads = await self._heads_of([state.units[i].agent or "" for i in plain])
            plain = [i for i in plain if state.units[i].agent in heads]
            if not plain:
                return
            written = await self._insert(state, plain, heads)
            plain = plain[written:]
            if plain:  # somebody else was faster
                if loop.time() + pause >= deadline:
                    raise NotApplied("other writers were faster all the time")
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, no secret
                pause = min(pause * 2 + 0.001, _LONGEST_PAUSE)

    async def _heads_of(self, agents: Sequence[str]) -> dict[str, Head]:
        """The heads of those that exist."""
        known = {agent: self._heads.get(agent) for agent in agents}
        unknown = [agent for agent, head in known.items() if head is None]
        if unknown:
            loaded = await load(self._store, unknown)
            known |= loaded.agents
            for agent, head in loaded.agents.items():
                self._heads.learn(agent, head)
        return {agent: head for agent, head in known.items() if head is not None}

    async def _insert(self, state: _Group, plain: list[int], heads: dict[str, Head]) -> int:
        """Insert as many as can be, in their order; returns how many those were."""
        lasts = {agent: head.last for agent, head in heads.items()}
        slots: dict[str, bytes] = {}
        documents, sequences = [], []
        for i in plain:
            unit = state.units[i]
            agent = unit.agent or ""
            sequence = lasts[agent] = lasts[agent] + 1
            slot = slots.get(agent)
            if slot is None:
                slot = slots[agent] = slot_of(self._store.namespace, agent)
            sequences.append(sequence)
            documents.append(record_document(self._store.namespace, agent, slot, sequence, unit.appends[0]))
        written = len(documents)
        refusal: BaseException | None = None
        try:
            await self._interactions.insert_many(documents, ordered=True)
        except driver.BulkWriteError as exc:
            details = exc.details or {}
            if details.get("writeConcernErrors") or code_of(exc) not in {DUPLICATE_KEY, INVALID_DOCUMENT}:
                raise _lost(exc) from exc
            written, refusal = int(details["nInserted"]), exc
        except DRIVER_ERRORS as exc:
            raise writing(exc) from exc
        for i, sequence in zip(plain[:written], sequences, strict=False):
            agent = state.units[i].agent or ""
            state.outcomes[i] = Applied((sequence,))
            heads[agent] = heads[agent]._replace(last=sequence)
        for i in plain[:written]:
            agent = state.units[i].agent or ""
            self._heads.learn(agent, heads[agent])
        if refusal is not None:
            if code_of(refusal) == INVALID_DOCUMENT:
                raise await self._refused(refusal) from refusal
            for i in plain[written:]:
                self._heads.forget(state.units[i].agent or "")
        return written

    async def _refused(self, exc: BaseException) -> StorageError:
        try:
            return await self._store.refused(exc)
        except SchemaVersionError as refusal:
            return refusal


def _lost(exc: BaseException) -> StorageError:
    error = writing(exc)
    return Unknown(str(error)) if isinstance(error, NotApplied) else error


def _is_plain(unit: Unit) -> bool:
    """One new interaction with an id made by us: there is nothing to judge."""
    return (
        unit.agent is not None
        and len(unit.appends) == 1
        and not unit.puts
        and not unit.turn
        and not unit.appends[0].given
        and unit.appends[0].sequence is None
    )
