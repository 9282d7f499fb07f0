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
- A sending that nobody waits for any more sends nothing (``finishing``). The outcomes that are known are kept for as
  long as the attempt may come again, whichever sending learnt of them, and their units are not sent again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from bson.raw_bson import RawBSONDocument
from pymongo import errors as driver

from oacp_storage_core import OutcomeUnknownError, SchemaVersionError, StorageError
from oacp_storage_engine import Applied, NotApplied, Outcome, Unit, Unknown
from oacp_storage_mongo.encoding import record_document
from oacp_storage_mongo.errors import (
    DRIVER_ERRORS,
    DUPLICATE_KEY,
    INVALID_DOCUMENT,
    code_of,
    surely_written,
    writing,
)
from oacp_storage_mongo.finishing import Sending
from oacp_storage_mongo.heads import Head, Heads
from oacp_storage_mongo.judged import commit_judged
from oacp_storage_mongo.layout import slot_of
from oacp_storage_mongo.loading import load
from oacp_storage_mongo.store import Changed, Store
from oacp_storage_mongo.turns import Turns

_LONGEST_PAUSE = 0.05
_STATEMENT_BYTES = 12 * 1024 * 1024  # of documents, unless one is larger; MongoDB takes 16 MiB
_MOST_ROWS = 10_000  # that one transaction writes, unless one unit has more


@dataclass
class _Group:
    """The units of an attempt, and the outcomes that are known.

    ``unanswered`` counts statements that were sent and of which nothing definite is known: they are under way, for
    somebody who waits or for nobody, or their answer was lost.
    """

    attempt: str = ""
    units: Sequence[Unit] = ()
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    unanswered: int = 0

    @contextmanager
    def statement(self, sending: Sending) -> Iterator[None]:
        """Around what writes. Raises ``NotApplied`` before it when nobody waits any more."""
        sending.begin()
        self.unanswered += 1
        try:
            yield
        except Unknown:
            raise
        except (StorageError, Changed):
            self.unanswered -= 1
            raise
        self.unanswered -= 1  # not after anything else that was raised, which tells nothing


class Commits:
    """The commits of one engine, of which there is one at a time."""

    def __init__(self, store: Store, heads: Heads, turns: Turns) -> None:
        self._store = store
        self._heads = heads
        self._turns = turns
        self._group = _Group()

    async def commit(self, attempt: str, units: Sequence[Unit], sending: Sending) -> list[Outcome]:
        """Apply the units; what is known of them is kept until ``answered``."""
        group = self._group
        if group.attempt != attempt or group.units != units:  # others may come after ``NotApplied``
            group = self._group = _Group(attempt, units)
        try:
            await self._take_turn(sending)
            await self._commit(group, sending)
        except NotApplied as exc:
            if group.unanswered or group.outcomes:
                raise Unknown(str(exc)) from exc
            raise
        except StorageError as exc:
            if group.outcomes and not isinstance(exc, Unknown):
                raise OutcomeUnknownError(
                    f"{len(group.outcomes)} writes of a group were applied, and then: {exc}"
                ) from exc
            raise
        finally:
            if len(group.outcomes) < len(units):
                self._forget(units)
            self._turns.give()
        return [group.outcomes[i] for i in range(len(units))]

    def answered(self) -> None:
        """Who asked has the outcomes, so that the attempt will not come again."""
        self._group = _Group()

    async def _commit(self, group: _Group, sending: Sending) -> None:
        units = group.units
        repeated = group.unanswered > 0
        if not repeated:
            await self._append(group, sending)
        for receipt, part in _parts(group):
            judged = {i: units[i] for i in part if i not in group.outcomes}
            if judged:
                outcomes = await commit_judged(
                    self._store,
                    self._heads,
                    receipt,
                    judged,
                    sending,
                    partial(group.statement, sending),
                    partial(self._refused_in_a_transaction, sending),
                    repeated=repeated,
                )
                group.outcomes.update(outcomes)

    def _forget(self, units: Sequence[Unit]) -> None:
        for unit in units:
            if unit.agent is not None:
                self._heads.forget(unit.agent)

    async def _append(self, group: _Group, sending: Sending) -> None:
        """Write the plain appends of agents that exist, and of which nothing else is in the group."""
        units = group.units
        others = {unit.agent for unit in units if not _is_plain(unit)}
        plain = [i for i, unit in enumerate(units) if unit.agent not in others and i not in group.outcomes]
        loop = asyncio.get_running_loop()
        pause = 0.0
        while plain:
            sending.look()
            heads = await self._heads_of([units[i].agent or "" for i in plain])
            plain = [i for i in plain if units[i].agent in heads]
            if not plain:
                return
            written = await self._insert(group, plain, heads, sending)
            plain = plain[written:]
            if plain:  # somebody else was faster, or it was too much for one statement
                if loop.time() + pause >= sending.deadline:
                    raise NotApplied("other writers were faster all the time")
                if await self._take_turn(sending):
                    continue
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, no secret
                pause = min(pause * 2 + 0.001, _LONGEST_PAUSE)

    async def _refused_in_a_transaction(self, sending: Sending) -> None:
        """Another writer was faster: if that happens often, we stand in line."""
        self._turns.refused()
        await self._take_turn(sending)

    async def _take_turn(self, sending: Sending) -> bool:
        """Wait in line where others write too. Returns whether we did, so that all is to be read again."""
        if not await self._turns.take(sending.deadline):
            return False
        self._heads.forget_all()
        return True

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

    async def _insert(
        self,
        group: _Group,
        plain: list[int],
        heads: dict[str, Head],
        sending: Sending,
    ) -> int:
        """Insert as many as can be, in their order; returns how many those were."""
        units = group.units
        lasts = {agent: head.last for agent, head in heads.items()}
        slots: dict[str, bytes] = {}
        documents: list[RawBSONDocument] = []
        sequences: list[int] = []
        size = 0
        for i in plain:
            unit = units[i]
            agent = unit.agent or ""
            sequence = lasts[agent] = lasts[agent] + 1
            slot = slots.get(agent)
            if slot is None:
                slot = slots[agent] = slot_of(self._store.namespace, agent)
            document = record_document(self._store.namespace, agent, slot, sequence, unit.appends[0])
            size += len(document.raw)
            if documents and size > _STATEMENT_BYTES:
                break
            sequences.append(sequence)
            documents.append(document)
        written = len(documents)
        refusal: driver.BulkWriteError | None = None
        with group.statement(sending):
            try:
                await self._store.insert(documents)
            except driver.BulkWriteError as exc:
                written, refusal = surely_written(exc), exc
            except DRIVER_ERRORS as exc:
                raise writing(exc) from exc
        for i, sequence in zip(plain[:written], sequences, strict=False):
            agent = units[i].agent or ""
            group.outcomes[i] = Applied((sequence,))
            heads[agent] = heads[agent]._replace(last=sequence)
        for i in plain[:written]:
            agent = units[i].agent or ""
            self._heads.learn(agent, heads[agent])
        if refusal is not None:
            code = code_of(refusal)
            if code == INVALID_DOCUMENT:
                raise await self._refused(refusal) from refusal
            if code != DUPLICATE_KEY:
                raise writing(refusal) from refusal
            self._turns.refused()
            for i in plain[written:]:
                self._heads.forget(units[i].agent or "")
        return written

    async def _refused(self, exc: BaseException) -> StorageError:
        try:
            return await self._store.refused(exc)
        except SchemaVersionError as refusal:
            return refusal


def _parts(group: _Group) -> Iterator[tuple[str, list[int]]]:
    """The units by their places, in transactions of bounded size, each with the name of its receipt.

    They are the same for every sending of the group, whatever is known by then.
    """
    part: list[int] = []
    rows = begun = 0
    for i, unit in enumerate(group.units):
        size = len(unit.appends) + len(unit.puts)
        if part and rows + size > _MOST_ROWS:
            yield f"{group.attempt}:{begun}", part
            part, rows, begun = [], 0, i
        part.append(i)
        rows += size
    yield f"{group.attempt}:{begun}", part


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
