"""A reference ``Engine`` over dictionaries, and ``FakeStorage``, the small backend that tests run on it.

Several engines may share one ``MemoryStore``, as connections to one server do. Every primitive is atomic and gives
other tasks a turn once before it acts, so that calls overlap as they do with a real store.
"""

import asyncio
import hashlib
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from oacp_storage_core import RetentionPick
from oacp_storage_engine import (
    Doc,
    DocKind,
    DocRef,
    Engine,
    EngineStorage,
    Erased,
    Hint,
    Info,
    Known,
    NotApplied,
    Outcome,
    Page,
    Plan,
    Record,
    Rejected,
    Snapshot,
    Stored,
    Trimmed,
    Unit,
    judge,
    wanted,
)


@dataclass
class Tenant:
    """The data of one namespace. ``hidden`` holds what was erased and is not removed yet."""

    heads: dict[str, int] = field(default_factory=dict)
    left: dict[bytes, int] = field(default_factory=dict)
    logs: dict[str, dict[int, Record]] = field(default_factory=dict)
    documents: dict[DocRef, Doc] = field(default_factory=dict)
    hidden: dict[str, list[Record | DocRef]] = field(default_factory=dict)
    receipts: dict[str, Any] = field(default_factory=dict)

    def head(self, agent: str) -> int:
        return self.heads.get(agent, self.left.get(_hash(agent), 0))

    def by_id(self, agent: str) -> dict[str, Record]:
        return {record.id: record for record in self.logs.get(agent, {}).values()}


class MemoryStore:
    """What engines share: the tenants, and who listens. ``commits`` lists the units of each applied group."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.listeners: list[Listener] = []
        self.commits: list[list[Unit]] = []

    def tenant(self, namespace: str = "default") -> Tenant:
        return self.tenants.setdefault(namespace, Tenant())

    def signal(self, agent: str) -> None:
        self.listeners = [listener for listener in self.listeners if not listener.loop.is_closed()]
        for listener in self.listeners:
            listener.agents.append(agent)
            listener.woken.set()


class Listener:
    """The agents that one engine has still to be told of."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.agents: list[str] = []
        self.woken = asyncio.Event()


class MemoryEngine(Engine):
    """The primitives over a ``MemoryStore``. ``calls`` lists the primitives that were called."""

    def __init__(
        self, store: MemoryStore | None = None, namespace: str = "default", *, lanes: int = 1
    ) -> None:
        self.store = store or MemoryStore()
        self.tenant = self.store.tenant(namespace)
        self.lanes = lanes
        self.calls: list[str] = []
        self.info = Info("1.0", 1, "none", ("everything is lost when this process ends",))
        self.is_open = False
        self.abandoned = False

    def lane_of(self, slot: tuple[bool, str]) -> int:
        return sum(slot[1].encode()) % self.lanes  # the same in every process, unlike hash()

    async def open(self) -> Info:
        await self._turn("open")
        self.is_open = True
        return self.info

    async def close(self) -> None:
        await self._turn("close")
        self.is_open = False

    def abandon(self) -> None:
        self.calls.append("abandon")
        self.is_open = False
        self.abandoned = True

    async def inspect(self) -> Info:
        await self._turn("inspect")
        return self.info

    # --- writing ------------------------------------------------------------------------------------------

    async def commit(
        self, attempt: str, units: Sequence[Unit], *, deadline: float
    ) -> Sequence[Outcome | Rejected]:
        await self._turn("commit", deadline)
        return self.apply(attempt, units)

    def apply(self, attempt: str, units: Sequence[Unit]) -> list[Outcome]:
        """Judge and write, once per attempt."""
        if attempt not in self.tenant.receipts:
            plan = judge(units, self._snapshot(units))
            self._write(plan)
            self.store.commits.append(list(units))
            self.tenant.receipts[attempt] = plan.outcomes
        outcomes: list[Outcome] = self.tenant.receipts[attempt]
        return list(outcomes)

    def _snapshot(self, units: Sequence[Unit]) -> Snapshot:
        need = wanted(units)
        snapshot = Snapshot(heads={agent: self.tenant.head(agent) for agent in need.agents})
        for agent, interaction_id in need.ids:
            if record := self.tenant.by_id(agent).get(interaction_id):
                snapshot.records[agent, interaction_id] = Known(record.sequence, record.body)
        for ref in need.documents:
            if doc := self.tenant.documents.get(ref):
                snapshot.versions[ref] = doc.version
        return snapshot

    def _write(self, plan: Plan) -> None:
        for agent, head in plan.heads.items():
            self.tenant.heads[agent] = head
            self.tenant.left.pop(_hash(agent), None)
        for agent, sequence, one in plan.rows:
            log = self.tenant.logs.setdefault(agent, {})
            log[sequence] = Record(sequence, one.id, one.at_us, one.body, one.crc)
        for ref, stored in plan.documents.items():
            if isinstance(stored, Stored):
                put = stored.put
                self.tenant.documents[ref] = Doc(ref.key, stored.version, put.at_us, put.body or b"", put.crc)
            else:
                self.tenant.documents.pop(ref, None)
        for agent in dict.fromkeys(row.agent for row in plan.rows):
            self.store.signal(agent)

    async def trim(
        self,
        attempt: str,
        agents: Sequence[str],
        pick: RetentionPick,
        *,
        dry_run: bool,
        limit: int,
        deadline: float,
    ) -> Trimmed:
        await self._turn("trim", deadline)
        return self.apply_trim(attempt, agents, pick, dry_run, limit)

    def apply_trim(
        self, attempt: str, agents: Sequence[str], pick: RetentionPick, dry_run: bool, limit: int
    ) -> Trimmed:
        """Delete what is picked, once per attempt."""
        if attempt not in self.tenant.receipts:
            picked = [(agent, sequence) for agent in agents for sequence in self._picked(agent, pick)]
            now = picked if dry_run else picked[:limit]
            if not dry_run:
                for agent, sequence in now:
                    del self.tenant.logs[agent][sequence]
            self.tenant.receipts[attempt] = Trimmed(len(now), len(now) < len(picked))
        trimmed: Trimmed = self.tenant.receipts[attempt]
        return trimmed

    def _picked(self, agent: str, pick: RetentionPick) -> list[int]:
        records = list(self.tenant.logs.get(agent, {}).values())
        older = records if pick.keep_last is None else records[: max(0, len(records) - pick.keep_last)]
        return [
            record.sequence
            for record in older
            if (pick.ids is None or record.id in pick.ids)
            and (pick.before_us is None or record.at_us < pick.before_us)
        ]

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        await self._turn("erase", deadline)
        return self.apply_erase(attempt, agent, begin, limit)

    def apply_erase(self, attempt: str, agent: str, begin: bool, limit: int) -> Erased:
        """Hide the agent or remove what was hidden, once per attempt."""
        if attempt not in self.tenant.receipts:
            hidden = self.tenant.hidden.setdefault(agent, [])
            if begin:
                hidden += self.tenant.logs.pop(agent, {}).values()
                documents = [ref for ref in self.tenant.documents if ref.agent == agent]
                for ref in documents:
                    del self.tenant.documents[ref]
                hidden += documents
                if agent in self.tenant.heads:
                    self.tenant.left[_hash(agent)] = self.tenant.heads.pop(agent)
            now, self.tenant.hidden[agent] = hidden[:limit], hidden[limit:]
            kinds = [one.kind if isinstance(one, DocRef) else None for one in now]
            self.tenant.receipts[attempt] = Erased(
                kinds.count(None),
                kinds.count(DocKind.STATE),
                kinds.count(DocKind.LEARNING),
                bool(self.tenant.hidden[agent]),
            )
        erased: Erased = self.tenant.receipts[attempt]
        return erased

    # --- reading ------------------------------------------------------------------------------------------

    async def read_log(
        self,
        agent: str,
        low: int,
        high: int | None,
        *,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None = None,
    ) -> Page:
        await self._turn("read_log")
        head = self.tenant.head(agent)
        log = self.tenant.logs.get(agent, {})
        sequences = list(log)
        within = sequences[
            bisect_right(sequences, low) : len(sequences)
            if high is None
            else bisect_right(sequences, high - 1)
        ]
        records: list[Record] = []
        size = 0
        for sequence in within[::-1] if reverse else within:
            record = log[sequence]
            if len(records) >= limit or (records and size + len(record.body) > max_bytes):
                return Page(records, head, _bound_after(records, low, high, reverse=reverse))
            if not _surely_misses(record, hint):
                records.append(record)
                size += len(record.body)
        return Page(records, head)

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        await self._turn("find")
        by_id = self.tenant.by_id(agent)
        return [by_id[one] for one in dict.fromkeys(ids) if one in by_id]

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        await self._turn("read_docs")
        return [self.tenant.documents.get(DocRef(agent, kind, key)) for key in keys]

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        await self._turn("scan_docs")
        keys = [ref.key for ref in self.tenant.documents if (ref.agent, ref.kind) == (agent, kind)]
        return [
            self.tenant.documents[DocRef(agent, kind, key)] for key in _in_order(keys, prefix, after, limit)
        ]

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        await self._turn("scan_agents")
        return _in_order(self.tenant.heads, prefix, after, limit)

    async def signals(self) -> AsyncGenerator[str | None, None]:
        listener = Listener()
        self.store.listeners.append(listener)
        try:
            yield None
            while True:
                await listener.woken.wait()
                listener.woken.clear()
                while listener.agents:
                    yield listener.agents.pop(0)
        finally:
            if listener in self.store.listeners:
                self.store.listeners.remove(listener)

    async def _turn(self, primitive: str, deadline: float | None = None) -> None:
        self.calls.append(primitive)
        if self.abandoned:
            raise NotApplied("the connection was dropped")
        await asyncio.sleep(0)
        if deadline is not None and asyncio.get_running_loop().time() > deadline:
            raise NotApplied("no time left")


class FakeStorage(EngineStorage):
    """A backend over ``MemoryEngine``: what it takes to make one. ``engines`` lists all it made."""

    durable: ClassVar[bool] = False
    multiprocess: ClassVar[bool] = False

    def __init__(self, store: MemoryStore | None = None, *, lanes: int = 1, **options: Any) -> None:
        self.store = store or MemoryStore()
        self.engines: list[MemoryEngine] = []
        self._lanes = lanes
        super().__init__(**options)

    def _make_engine(self) -> Engine:
        engine = MemoryEngine(self.store, self.namespace, lanes=self._lanes)
        self.engines.append(engine)
        return engine


def damage_record(tenant: Tenant, agent: str, sequence: int, /, **changes: Any) -> None:
    """Replace fields of a stored record, and leave its checksum as it is."""
    tenant.logs[agent][sequence] = tenant.logs[agent][sequence]._replace(**changes)


def damage_document(tenant: Tenant, ref: DocRef, /, **changes: Any) -> None:
    """Replace fields of a stored document, and leave its checksum as it is."""
    tenant.documents[ref] = tenant.documents[ref]._replace(**changes)


def _bound_after(records: list[Record], low: int, high: int | None, *, reverse: bool) -> int:
    if records:
        return records[-1].sequence
    return high if reverse and high is not None else low


def _surely_misses(record: Record, hint: Hint | None) -> bool:
    """By time only, which a store knows without reading bodies."""
    if hint is None:
        return False
    too_early = hint.since_us is not None and record.at_us < hint.since_us
    too_late = hint.until_us is not None and record.at_us >= hint.until_us
    return too_early or too_late


def _in_order(names: Any, prefix: str, after: str | None, limit: int) -> list[str]:
    matching = (name for name in names if name.startswith(prefix) and (after is None or name > after))
    return sorted(matching)[:limit]


def _hash(agent: str) -> bytes:
    return hashlib.sha256(agent.encode()).digest()
