"""Mutants of the log: order, ids, batches, history, conditions, watching."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from mutants import mutant
from oacp_storage_conformance import ClauseName
from oacp_storage_core import DuplicateIdError, Interaction, MemoryStorage, StorageClosedError, compile_where
from oacp_storage_core.arguments import check_limit
from oacp_storage_core.ids import new_id
from oacp_storage_core.where import lookup, parse_path


@mutant(ClauseName.ORDER)
class LimitOffByOne(MemoryStorage):
    """Returns one interaction more than the limit."""

    async def get_interactions(self, agent_id, limit=100):
        return await super().get_interactions(agent_id, limit + 1 if check_limit(limit) else 0)


@mutant(ClauseName.ORDER)
class LimitZeroIsAll(MemoryStorage):
    """Takes limit=0 for no limit, as ``records[-0:]`` does."""

    async def get_interactions(self, agent_id, limit=100):
        return await super().get_interactions(agent_id, check_limit(limit) or 10**6)


@mutant(ClauseName.ORDER)
class NegativeLimitAccepted(MemoryStorage):
    """Returns something for a negative limit."""

    async def get_interactions(self, agent_id, limit=100):
        return await super().get_interactions(agent_id, abs(limit))


@mutant(ClauseName.ORDER)
class NewestFirst(MemoryStorage):
    """Returns the newest interaction first."""

    async def get_interactions(self, agent_id, limit=100):
        return (await super().get_interactions(agent_id, limit))[::-1]


@mutant(ClauseName.ORDER)
class OldestOnes(MemoryStorage):
    """Returns the oldest interactions instead of the newest."""

    async def get_interactions(self, agent_id, limit=100):
        everything = await super().get_interactions(agent_id, 10**6)
        return everything[:limit] if limit > 0 else await super().get_interactions(agent_id, limit)


@mutant(ClauseName.ORDER, ClauseName.TIME)
class OrderByClock(MemoryStorage):
    """Orders the log by timestamp instead of by commit."""

    def iter_interactions(self, agent_id, **query):
        return _Sorted(super().iter_interactions(agent_id, **query), query.get("reverse", False))


@mutant(ClauseName.ORDER, ClauseName.DELETION)
class SequenceReused(MemoryStorage):
    """Gives the sequence of a deleted last interaction to the next one."""

    async def delete_interactions(self, agent_id=None, **criteria):
        count = await super().delete_interactions(agent_id, **criteria)
        with self._use() as data:
            for agent in data.agents.values():
                agent.log.head = max((record.sequence for record in agent.log.records), default=0)
        return count


@mutant(ClauseName.IDEMPOTENCY)
class IdIgnored(MemoryStorage):
    """Stores the same id twice."""

    async def store_interaction(self, agent_id, interaction, *, interaction_id=None, timestamp=None):
        given = interaction_id and await super().get_interaction(agent_id, interaction_id)
        if given and given.data == interaction:
            await super().store_interaction(agent_id, interaction, timestamp=timestamp)
            return interaction_id
        return await super().store_interaction(
            agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
        )


@mutant(ClauseName.IDEMPOTENCY)
class FirstPayloadWins(MemoryStorage):
    """Takes the same id with another payload for a repetition."""

    async def store_interaction(self, agent_id, interaction, *, interaction_id=None, timestamp=None):
        try:
            return await super().store_interaction(
                agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
            )
        except DuplicateIdError:
            return interaction_id


@mutant(ClauseName.IDEMPOTENCY)
class IdsGlobal(MemoryStorage):
    """Takes an id of one agent for taken by all agents."""

    async def store_interaction(self, agent_id, interaction, *, interaction_id=None, timestamp=None):
        if interaction_id is not None:
            with self._use() as data:
                others = [agent for name, agent in data.agents.items() if name != agent_id]
                taken = any(interaction_id in agent.log.by_id for agent in others)
            if taken:
                raise DuplicateIdError(f"{interaction_id} is taken")
        return await super().store_interaction(
            agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
        )


@mutant(ClauseName.BATCHES)
class BatchHalfStored(MemoryStorage):
    """Stores a batch one by one, so that a bad one in the middle leaves the first half."""

    async def store_interactions(self, agent_id, interactions):
        return [
            (await super(BatchHalfStored, self).store_interactions(agent_id, [one]))[0]
            for one in interactions
        ]


@mutant(ClauseName.BATCHES)
class BatchForgetsIds(MemoryStorage):
    """Gives new ids to the records of a batch."""

    async def store_interactions(self, agent_id, interactions):
        fresh = [replace(one, id=new_id()) if isinstance(one, Interaction) else one for one in interactions]
        return await super().store_interactions(agent_id, fresh)


@mutant(ClauseName.BATCHES, ClauseName.TIME)
class BatchForgetsTimes(MemoryStorage):
    """Stores the records of a batch with the time of storing."""

    async def store_interactions(self, agent_id, interactions):
        now = datetime.now(UTC)
        fresh = [replace(one, timestamp=now) if isinstance(one, Interaction) else one for one in interactions]
        return await super().store_interactions(agent_id, fresh)


@mutant(ClauseName.TIME)
class TimesToTheSecond(MemoryStorage):
    """Keeps timestamps to the second."""

    async def store_interaction(self, agent_id, interaction, *, interaction_id=None, timestamp=None):
        timestamp = timestamp and timestamp.replace(microsecond=0)
        return await super().store_interaction(
            agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
        )


@mutant(ClauseName.TIME)
class NaiveIsUtc(MemoryStorage):
    """Takes a naive datetime for UTC."""

    async def store_interaction(self, agent_id, interaction, *, interaction_id=None, timestamp=None):
        if timestamp is not None and timestamp.tzinfo is None:
            timestamp = timestamp.replace(tzinfo=UTC)
        return await super().store_interaction(
            agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
        )


@mutant(ClauseName.ORDER, ClauseName.HISTORY)
class AfterInclusive(MemoryStorage):
    """Takes ``after`` for an inclusive bound."""

    def iter_interactions(self, agent_id, *, after=0, **query):
        return super().iter_interactions(agent_id, after=max(check_limit(after) - 1, 0), **query)


@mutant(ClauseName.ORDER, ClauseName.HISTORY)
class UntilInclusive(MemoryStorage):
    """Takes ``until`` for an inclusive bound."""

    def iter_interactions(self, agent_id, *, until=None, **query):
        until = until and until + timedelta(microseconds=1)
        return super().iter_interactions(agent_id, until=until, **query)


@mutant(ClauseName.HISTORY, ClauseName.ORDER)
class ReverseIgnored(MemoryStorage):
    """Ignores ``reverse``."""

    def iter_interactions(self, agent_id, *, reverse=False, **query):
        return super().iter_interactions(agent_id, **query)


@mutant(ClauseName.WHERE, ClauseName.HISTORY)
class LimitBeforeWhere(MemoryStorage):
    """Counts the limit before the condition."""

    def iter_interactions(self, agent_id, *, where=None, limit=None, **query):
        compile_where(where)
        inner = super().iter_interactions(agent_id, limit=limit, **query)
        return _Filtered(inner, where) if where is not None else inner


@mutant(ClauseName.WHERE)
class TrueIsOne(MemoryStorage):
    """Compares true with 1 as Python does."""

    def iter_interactions(self, agent_id, *, where=None, **query):
        compile_where(where)
        simple = where and all(isinstance(value, int | float) for value in where.values())
        if not simple:
            return super().iter_interactions(agent_id, where=where, **query)
        return _Filtered(super().iter_interactions(agent_id, **query), where, python=True)


@mutant(ClauseName.WHERE)
class NullIsMissing(MemoryStorage):
    """Takes null for missing."""

    def iter_interactions(self, agent_id, *, where=None, **query):
        if compile_where(where) is not None:
            where = {k: {"$exists": False} if v is None else v for k, v in where.items()}
        return super().iter_interactions(agent_id, where=where, **query)


@mutant(ClauseName.HISTORY, ClauseName.ORDER)
class HistoryRunsAfterTheHead(MemoryStorage):
    """Goes on to what is appended during the iteration."""

    def iter_interactions(self, agent_id, **query):
        if set(query) & {"reverse", "limit", "before"}:
            return super().iter_interactions(agent_id, **query)
        return _Endless(self, agent_id, query)

    def history(self, agent_id, **query):
        return super().iter_interactions(agent_id, **query)


@mutant(ClauseName.WATCH)
class WatchSkips(MemoryStorage):
    """Skips one of the interactions stored while the watcher was busy."""

    def watch_interactions(self, agent_id, *, after=None):
        return _Skipping(super().watch_interactions(agent_id, after=after))


@mutant(ClauseName.WATCH)
class WatchRepeats(MemoryStorage):
    """Delivers an interaction twice."""

    def watch_interactions(self, agent_id, *, after=None):
        return _Repeating(super().watch_interactions(agent_id, after=after))


@mutant(ClauseName.WATCH)
class WatchFromTheBeginning(MemoryStorage):
    """Starts at the beginning instead of at the head."""

    def watch_interactions(self, agent_id, *, after=None):
        return super().watch_interactions(agent_id, after=after or 0)


@mutant(ClauseName.WATCH)
class WatchEndsQuietly(MemoryStorage):
    """Ends without an error when the storage is closed."""

    def watch_interactions(self, agent_id, *, after=None):
        return _Quiet(super().watch_interactions(agent_id, after=after))


@dataclass
class _Wrapped:
    inner: Any

    def __aiter__(self):
        return self


@dataclass
class _Sorted(_Wrapped):
    reverse: bool
    found: list[Any] | None = None

    async def __anext__(self):
        if self.found is None:
            self.found = [one async for one in self.inner]
            self.found.sort(key=lambda one: one.timestamp, reverse=self.reverse)
        if not self.found:
            raise StopAsyncIteration
        return self.found.pop(0)


@dataclass
class _Filtered(_Wrapped):
    where: Any
    python: bool = False

    async def __anext__(self):
        while True:
            one = await anext(self.inner)
            if self.python and all(lookup(one.data, parse_path(k)) == v for k, v in self.where.items()):
                return one
            keeps = compile_where(self.where)
            if not self.python and (keeps is None or keeps(one.data)):
                return one


@dataclass
class _Endless:
    storage: Any
    agent_id: str
    query: dict[str, Any]
    left: int = 3000  # not really endless, or its test would be

    def __aiter__(self):
        return self

    async def __anext__(self):
        query = {**self.query, "limit": 1 if self.left else 0}
        self.left -= 1
        async for one in self.storage.history(self.agent_id, **query):
            self.query["after"] = one.sequence
            return one
        raise StopAsyncIteration


@dataclass
class _Skipping(_Wrapped):
    seen: int = 0

    async def __anext__(self):
        one = await anext(self.inner)
        self.seen += 1
        return await anext(self.inner) if self.seen == 3 else one


@dataclass
class _Repeating(_Wrapped):
    again: Any = None
    seen: int = 0

    async def __anext__(self):
        if self.again is not None:
            one, self.again = self.again, None
            return one
        one = await anext(self.inner)
        self.seen += 1
        self.again = one if self.seen == 2 else None
        return one


class _Quiet(_Wrapped):
    async def __anext__(self):
        try:
            return await anext(self.inner)
        except StorageClosedError:
            raise StopAsyncIteration from None
