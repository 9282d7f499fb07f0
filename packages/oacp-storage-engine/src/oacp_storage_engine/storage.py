"""``EngineStorage``: the whole interface over an ``Engine``; a backend derives from it, with its options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from oacp_storage_core import (
    ALL_CAPABILITIES,
    Capability,
    Damage,
    Deletion,
    Document,
    Health,
    Interaction,
    RetentionPick,
    Storage,
    StorageClosedError,
    StorageConfigError,
    StorageError,
    Turn,
    Where,
)
from oacp_storage_core.arguments import (
    NewInteraction,
    check_call_size,
    check_history,
    check_limit,
    check_retention,
    new_interaction,
    new_interactions,
)
from oacp_storage_core.names import check_name, check_namespace, check_prefix
from oacp_storage_core.times import from_us

from oacp_storage_engine.checksum import interaction_crc
from oacp_storage_engine.codec import to_interaction
from oacp_storage_engine.documents import Documents
from oacp_storage_engine.lifecycle import Lifecycle
from oacp_storage_engine.log_iterators import HistoryIterator, WatchIterator, hint_of
from oacp_storage_engine.primitives import (
    Append,
    Applied,
    DocKind,
    Engine,
    Erased,
    Put,
    Record,
    Slot,
    Trimmed,
    Unit,
)
from oacp_storage_engine.verification import verify
from oacp_storage_engine.writing import Writing

_TRIM_STEP = 10_000
_TRIM_AGENTS = 500
_ERASE_STEP = 10_000


class EngineStorage(Documents, Writing, Storage):
    """A ``Storage`` over an engine: rules, group commit, loops, forks, closing and watching are done here.

    A subclass implements ``_make_engine`` and passes these options on:

    - ``namespace``: whose data this is (``[a-z0-9_-]{1,64}``); other namespaces are invisible.
    - ``coerce``: turn the usual non-JSON values into JSON instead of refusing them.
    - ``timeout``: seconds that one call may take, opening included.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    def __init__(self, *, namespace: str = "default", coerce: bool = False, timeout: float = 30.0) -> None:
        if not timeout > 0:
            raise StorageConfigError(f"timeout must be a positive number of seconds, not {timeout!r}")
        self.namespace = check_namespace(namespace)
        self._coerce = coerce
        self._lifecycle = Lifecycle(self._make_engine, timeout)
        self._runtime = self._lifecycle.runtime

    @abstractmethod
    def _make_engine(self) -> Engine:
        """A new engine, not yet open; called for every event loop and process that uses the storage."""

    async def open(self) -> None:
        await self._runtime()

    async def close(self) -> None:
        await self._lifecycle.close()

    # --- interactions -------------------------------------------------------------------------------------

    async def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        agent = check_name(agent_id)
        runtime, lane, deadline = await self._enter(Slot(True, agent))
        new = new_interaction(
            interaction, coerce=self._coerce, interaction_id=interaction_id, timestamp=timestamp
        )
        unit = Unit(agent, (_append(agent, new),))
        outcome = await runtime.submit(unit, len(new.body), lane, deadline)
        if not isinstance(outcome, Applied):
            raise self._refusal(unit, outcome)
        return new.id

    async def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        agent = check_name(agent_id)
        new = new_interactions(agent, interactions, coerce=self._coerce)
        if new:
            await self._write(Unit(agent, tuple(_append(agent, one) for one in new)))
        return [one.id for one in new]

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        agent = check_name(agent_id)
        wanted = check_limit(limit)
        history = HistoryIterator(self._runtime, agent, check_history(reverse=True, limit=wanted))
        newest_first = [interaction.data async for interaction in history]
        return newest_first[::-1]

    def iter_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[Interaction]:
        query = check_history(after, before, since, until, where, reverse, limit)
        return HistoryIterator(self._runtime, check_name(agent_id), query)

    async def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        agent = check_name(agent_id)
        found = await self._find(agent, [check_name(interaction_id, "interaction id")])
        return to_interaction(agent, found[0]) if found else None

    async def count_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
    ) -> int:
        agent = check_name(agent_id)
        query = check_history(after, before, since, until, where)
        if query.where is None:
            runtime = await self._runtime()
            counted = await runtime.read(
                lambda: runtime.engine.count(agent, query.after, query.before, hint_of(query))
            )
            if counted is not None:
                return counted
        return sum([1 async for _ in HistoryIterator(self._runtime, agent, query)])

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        cursor = None if after is None else check_limit(after, "after")
        return WatchIterator(self._runtime, check_name(agent_id), cursor)

    async def delete_interactions(
        self,
        agent_id: str | None = None,
        *,
        ids: Iterable[str] | None = None,
        before: datetime | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> int:
        agent = None if agent_id is None else check_name(agent_id)
        pick = check_retention(agent, ids, before, keep_last)
        if agent is not None:
            return await self._trim([agent], pick, dry_run) if pick.ids != () else 0
        runtime = await self._runtime()
        removed = 0
        if not dry_run:
            removed = await runtime.write(
                lambda attempt, deadline: runtime.engine.drop_covered(attempt, pick, deadline=deadline)
            )
        after: str | None = None
        while agents := await self.list_agents(after=after, limit=_TRIM_AGENTS):
            removed += await self._trim(agents, pick, dry_run)
            after = agents[-1]
        return removed

    async def _trim(self, agents: list[str], pick: RetentionPick, dry_run: bool) -> int:
        removed = 0
        while True:
            step = await self._trim_step(agents, pick, dry_run)
            removed += step.removed
            if not step.more:
                return removed

    async def _trim_step(self, agents: list[str], pick: RetentionPick, dry_run: bool) -> Trimmed:
        runtime = await self._runtime()
        return await runtime.write(
            lambda attempt, deadline: runtime.engine.trim(
                attempt, agents, pick, dry_run=dry_run, limit=_TRIM_STEP, deadline=deadline
            )
        )

    async def _find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        runtime = await self._runtime()
        return await runtime.read(lambda: runtime.engine.find(agent, ids))

    # --- turns, agents, upkeep ----------------------------------------------------------------------------

    async def record_turn(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Mapping[str, Any] | Interaction] = (),
        state: dict[str, Any] | None = None,
        expected_version: int | None = None,
        learning: Mapping[str, dict[str, Any]] | None = None,
    ) -> Turn:
        agent = check_name(agent_id)
        if state is None and expected_version is not None:
            raise ValueError("expected_version belongs to the state of the turn, and there is no state")
        new = new_interactions(agent, interactions, coerce=self._coerce)
        puts: list[Put] = []
        data: dict[str, dict[str, Any]] = {}
        if state is not None:
            put, data[""] = self._new_put(agent, DocKind.STATE, "", state, expected_version, at="$.state")
            puts.append(put)
        for name, value in (learning or {}).items():
            key = check_name(name, "learning key")
            put, data[key] = self._new_put(agent, DocKind.LEARNING, key, value, at=f"$.learning[{key!r}]")
            puts.append(put)
        check_call_size(sum(len(one.body) for one in new) + sum(len(put.body or b"") for put in puts))
        if not new and not puts:
            return Turn((), None, {})
        unit = Unit(agent, tuple(_append(agent, one) for one in new), tuple(puts), turn=True)
        applied = await self._write(unit)
        if applied.replayed:
            return await self._replayed_turn(agent, new, applied, puts)
        documents = {
            put.key: Document(put.key, data[put.key], version, from_us(put.at_us))
            for put, version in zip(puts, applied.versions, strict=True)
        }
        return Turn(
            tuple(
                Interaction(agent, one.id, sequence, from_us(one.at_us), one.data)
                for one, sequence in zip(new, applied.sequences, strict=True)
            ),
            documents.pop("", None),
            documents,
        )

    async def _replayed_turn(
        self, agent: str, new: list[NewInteraction], applied: Applied, puts: list[Put]
    ) -> Turn:
        """The turn as found: its interactions have the times of their first storing."""
        times = {record.id: record.at_us for record in await self._find(agent, [one.id for one in new])}
        state: Document | None = None
        learning: dict[str, Document] = {}
        for put in puts:
            document = await self._read_document(agent, put.kind, put.key)
            if document is not None and put.kind is DocKind.STATE:
                state = document
            elif document is not None:
                learning[put.key] = document
        found = tuple(
            Interaction(agent, one.id, sequence, from_us(times.get(one.id, one.at_us)), one.data)
            for one, sequence in zip(new, applied.sequences, strict=True)
        )
        return Turn(found, state, learning, replayed=True)

    async def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        wanted = check_limit(limit)
        start = check_prefix(prefix)
        if not wanted:
            return []
        runtime = await self._runtime()
        return await runtime.read(lambda: runtime.engine.scan_agents(prefix=start, after=after, limit=wanted))

    async def delete_agent(self, agent_id: str) -> Deletion:
        agent = check_name(agent_id)
        total = Erased()
        step: Erased | None = None
        while True:
            step = await self._erase_step(agent, begin=step is None)
            total = Erased(
                total.interactions + step.interactions,
                total.states + step.states,
                total.learning + step.learning,
            )
            if not step.more:
                return Deletion(agent, total.interactions, total.states, total.learning)

    async def _erase_step(self, agent: str, *, begin: bool) -> Erased:
        runtime = await self._runtime()
        return await runtime.write(
            lambda attempt, deadline: runtime.engine.erase(
                attempt, agent, begin=begin, limit=_ERASE_STEP, deadline=deadline
            )
        )

    async def health(self) -> Health:
        backend = type(self).__name__
        try:
            runtime = await self._runtime()
            begun = runtime.loop.time()
            info = await runtime.read(runtime.engine.inspect)
            latency = runtime.loop.time() - begun
        except StorageClosedError:
            raise
        except StorageError as exc:
            return Health(ok=False, backend=backend, error=str(exc))
        return Health(
            ok=True,
            backend=backend,
            latency=latency,
            server_version=info.server_version,
            schema_version=info.schema_version,
            durability=info.durability,
            warnings=info.warnings,
        )

    def verify(self) -> AsyncIterator[Damage]:
        return verify(self._runtime)

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        agent = check_name(agent_id)
        new = new_interactions(agent, interactions, coerce=False, imported=True)
        puts = [] if state is None else [self._imported_put(agent, DocKind.STATE, state)]
        puts += [self._imported_put(agent, DocKind.LEARNING, document) for document in learning]
        check_call_size(sum(len(one.body) for one in new) + sum(len(put.body or b"") for put in puts))
        if new or puts:
            await self._write(Unit(agent, tuple(_append(agent, one) for one in new), tuple(puts)))

    async def import_system_state(self, document: Document) -> None:
        await self._write(Unit(None, (), (self._imported_put(None, DocKind.SYSTEM, document),)))


def _append(agent: str, new: NewInteraction) -> Append:
    crc = interaction_crc(agent, new.id, new.at_us, new.body)
    return Append(new.id, new.given, new.at_us, new.body, crc, new.sequence or None)
