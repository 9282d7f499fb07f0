"""``EngineStorage``: the whole interface over an ``Engine``; a backend derives from it, with its options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from oacp_storage_core import (
    ALL_CAPABILITIES,
    Capability,
    Damage,
    Deletion,
    Document,
    Health,
    Interaction,
    OutcomeUnknownError,
    RetentionPick,
    Storage,
    StorageConfigError,
    StorageError,
    StorageUsageError,
    Turn,
    Where,
)
from oacp_storage_core.arguments import (
    NewInteraction,
    check_call_size,
    check_expected_version,
    check_history,
    check_limit,
    check_list,
    check_retention,
    new_interaction,
    new_interactions,
)
from oacp_storage_core.names import check_name, check_namespace
from oacp_storage_core.times import from_us
from oacp_storage_engine.checksum import interaction_crc
from oacp_storage_engine.codec import to_interaction
from oacp_storage_engine.documents import Documents
from oacp_storage_engine.lifecycle import Lifecycle
from oacp_storage_engine.log_iterators import (
    COUNTED,
    LISTED,
    STREAMED,
    HistoryIterator,
    WatchIterator,
    hint_of,
)
from oacp_storage_engine.primitives import (
    Append,
    Applied,
    DocKind,
    Engine,
    Erased,
    Put,
    Slot,
    Trimmed,
    Unit,
)
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.verification import Verification
from oacp_storage_engine.writing import Writing

_TRIM_STEP = 10_000
_TRIM_AGENTS = 500
_ERASE_STEP = 10_000
_HEALTH_PATIENCE = 5.0  # seconds: health tells how the store is now, not how it will be after a wait


class EngineStorage(Documents, Writing, Storage):
    """A ``Storage`` over an engine: rules, group commit, loops, forks, closing and watching are done here.

    A subclass implements ``_make_engine`` and passes these options on:

    - ``namespace``: whose data this is (``[a-z0-9_-]{1,64}``); other namespaces are invisible.
    - ``coerce``: turn the usual non-JSON values into JSON instead of refusing them.
    - ``timeout``: seconds that one call may take, opening included. What takes several steps (deletions, updates,
      reading page by page) has them for each step.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    def __init__(self, *, namespace: str = "default", coerce: bool = False, timeout: float = 30.0) -> None:
        if not timeout > 0:
            raise StorageConfigError(f"timeout must be a positive number of seconds, not {timeout!r}")
        self.namespace = check_namespace(namespace)
        self._coerce = coerce
        self._lifecycle = Lifecycle(self._make_engine, timeout)

    @abstractmethod
    def _make_engine(self) -> Engine:
        """A new engine, not yet open; called for every event loop and process that uses the storage."""

    def _call(self) -> Runtime:
        return self._lifecycle.runtime()

    async def open(self) -> None:
        with self._call() as runtime:
            await runtime.opened()

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
        with self._call() as runtime:
            deadline = runtime.deadline()
            lane = runtime.free_lane(True, agent)
            if lane is None:
                lane = await runtime.enter_lane(True, agent, deadline)
            new = new_interaction(
                interaction, coerce=self._coerce, interaction_id=interaction_id, timestamp=timestamp
            )
            unit = Unit(agent, (_append(agent, new),))
            name, size = new.id, len(new.body)
            del new  # and with it the decoded copy, while the unit waits
            outcome = await lane.submit(unit, size, deadline)
        if not isinstance(outcome, Applied):
            raise self._refusal(unit, outcome)
        return name

    async def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        agent = check_name(agent_id)
        new = new_interactions(agent, interactions, coerce=self._coerce)
        with self._call() as runtime:
            if new:
                await self._write(runtime, Unit(agent, tuple(_append(agent, one) for one in new)))
        return [one.id for one in new]

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        agent = check_name(agent_id)
        query = check_history(reverse=True, limit=check_limit(limit))
        with self._call() as runtime:
            history = HistoryIterator(lambda: runtime, agent, query, LISTED)
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
        return HistoryIterator(self._call, check_name(agent_id), query, STREAMED)

    async def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        agent = check_name(agent_id)
        wanted = check_name(interaction_id, "interaction id")
        with self._call() as runtime:
            found = await runtime.read(lambda: runtime.engine.find(agent, [wanted]))
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
        with self._call() as runtime:
            if query.where is None:
                counted = await runtime.read(
                    lambda: runtime.engine.count(agent, query.after, query.before, hint_of(query))
                )
                if counted is not None:
                    return counted
            count = 0
            async for _ in HistoryIterator(lambda: runtime, agent, query, COUNTED):
                count += 1
            return count

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        cursor = None if after is None else check_limit(after, "after")
        return WatchIterator(self._call, check_name(agent_id), cursor)

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
        counts: list[int] = []  # of each step
        with self._call() as runtime, _said_if_partly_done([] if dry_run else counts):
            if agent is not None:
                for part in _parts(pick):
                    await self._trim(runtime, [agent], part, dry_run, counts)
                return sum(counts)
            if not dry_run:
                dropped = await runtime.write(
                    lambda attempt, deadline: runtime.engine.drop_covered(attempt, pick, deadline=deadline)
                )
                counts.append(dropped)
            after: str | None = None
            while agents := await self._agents(runtime, "", after, _TRIM_AGENTS):
                await self._trim(runtime, agents, pick, dry_run, counts)
                after = agents[-1]
            return sum(counts)

    async def _trim(
        self, runtime: Runtime, agents: list[str], pick: RetentionPick, dry_run: bool, counts: list[int]
    ) -> None:
        async def step(attempt: str, deadline: float) -> Trimmed:
            return await runtime.engine.trim(
                attempt, agents, pick, dry_run=dry_run, limit=_TRIM_STEP, deadline=deadline
            )

        slot = Slot(True, agents[0]) if len(agents) == 1 else None
        done = await runtime.write(step, slot=slot)  # in the order of calls, as far as one step goes
        counts.append(done.removed)
        while done.more:
            done = await runtime.write(step)
            counts.append(done.removed)

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
        expected = check_expected_version(expected_version)
        if state is None and expected is not None:
            raise ValueError("expected_version belongs to the state of the turn, and there is no state")
        new = new_interactions(agent, interactions, coerce=self._coerce)
        puts: list[Put] = []
        data: dict[str, dict[str, Any]] = {}
        if state is not None:
            put, data[""] = self._new_put(agent, DocKind.STATE, "", state, expected, at="$.state")
            puts.append(put)
        for name, value in (learning or {}).items():
            key = check_name(name, "learning key")
            put, data[key] = self._new_put(agent, DocKind.LEARNING, key, value, at=f"$.learning[{key!r}]")
            puts.append(put)
        check_call_size(sum(len(one.body) for one in new) + sum(len(put.body or b"") for put in puts))
        if not new and not puts:
            return Turn((), None, {})
        unit = Unit(agent, tuple(_append(agent, one) for one in new), tuple(puts), turn=True)
        with self._call() as runtime:
            applied = await self._write(runtime, unit)
            if applied.replayed:
                return await self._replayed_turn(runtime, agent, new, applied, puts)
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
        self, runtime: Runtime, agent: str, new: list[NewInteraction], applied: Applied, puts: list[Put]
    ) -> Turn:
        """The turn as found: its interactions have the times of their first storing."""
        ids = [one.id for one in new]
        times = {one.id: one.at_us for one in await runtime.read(lambda: runtime.engine.find(agent, ids))}
        found = tuple(
            Interaction(agent, one.id, sequence, from_us(times.get(one.id, one.at_us)), one.data)
            for one, sequence in zip(new, applied.sequences, strict=True)
        )
        state: Document | None = None
        if any(put.kind is DocKind.STATE for put in puts):
            (state,) = await self._read_documents(runtime, agent, DocKind.STATE, [""])
        keys = [put.key for put in puts if put.kind is DocKind.LEARNING]
        learning: list[Document | None] = []
        if keys:
            learning = await self._read_documents(runtime, agent, DocKind.LEARNING, keys)
        return Turn(found, state, {one.key: one for one in learning if one is not None}, replayed=True)

    async def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        start, last, wanted = check_list(prefix, after, limit)
        if not wanted:
            return []
        with self._call() as runtime:
            return await self._agents(runtime, start, last, wanted)

    async def _agents(self, runtime: Runtime, prefix: str, after: str | None, limit: int) -> list[str]:
        return await runtime.read(lambda: runtime.engine.scan_agents(prefix=prefix, after=after, limit=limit))

    async def delete_agent(self, agent_id: str) -> Deletion:
        agent = check_name(agent_id)
        with self._call() as runtime:

            async def erase(attempt: str, deadline: float, begin: bool = False) -> Erased:
                return await runtime.engine.erase(
                    attempt, agent, begin=begin, limit=_ERASE_STEP, deadline=deadline
                )

            steps: list[Erased] = []
            with _said_if_partly_done(steps):
                steps.append(await runtime.write(partial(erase, begin=True), slot=Slot(True, agent)))
                while steps[-1].more:
                    steps.append(await runtime.write(erase))
        return Deletion(
            agent,
            sum(step.interactions for step in steps),
            sum(step.states for step in steps),
            sum(step.learning for step in steps),
        )

    async def health(self) -> Health:
        backend = type(self).__name__
        try:
            with self._call() as runtime:
                await runtime.opened(runtime.loop.time() + _HEALTH_PATIENCE)
                begun = runtime.loop.time()
                info = await runtime.read(runtime.engine.inspect, patience=_HEALTH_PATIENCE)
                latency = runtime.loop.time() - begun
        except StorageUsageError:  # closed, or used from two loops: that is not the store's condition
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
        return Verification(self._call)

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        agent = check_name(agent_id)
        new = new_interactions(agent, interactions, coerce=self._coerce, imported=True)
        puts = [] if state is None else [self._imported_put(agent, DocKind.STATE, state)]
        puts += [self._imported_put(agent, DocKind.LEARNING, document) for document in learning]
        check_call_size(sum(len(one.body) for one in new) + sum(len(put.body or b"") for put in puts))
        with self._call() as runtime:
            if new or puts:
                await self._write(
                    runtime, Unit(agent, tuple(_append(agent, one) for one in new), tuple(puts))
                )

    async def import_system_state(self, document: Document) -> None:
        put = self._imported_put(None, DocKind.SYSTEM, document)
        with self._call() as runtime:
            await self._write(runtime, Unit(None, (), (put,)))


def _append(agent: str, new: NewInteraction) -> Append:
    crc = interaction_crc(agent, new.id, new.at_us, new.body)
    return Append(new.id, new.given, new.at_us, new.body, crc, new.sequence or None)


@contextmanager
def _said_if_partly_done(steps: Sequence[int | Erased]) -> Iterator[None]:
    """A deletion that fails after a step that changed something must not say that nothing was changed."""
    try:
        yield
    except OutcomeUnknownError:
        raise
    except StorageError as exc:
        if not any(steps):
            raise
        raise OutcomeUnknownError(
            f"a part was deleted, and then: {exc}; repeat the call to delete the rest"
        ) from exc


def _parts(pick: RetentionPick) -> Iterator[RetentionPick]:
    """The pick in parts of not too many ids each, which together mean the same."""
    if pick.ids is None:
        yield pick
        return
    ids = tuple(dict.fromkeys(pick.ids))
    for i in range(0, len(ids), _TRIM_STEP):
        yield pick._replace(ids=ids[i : i + _TRIM_STEP])
