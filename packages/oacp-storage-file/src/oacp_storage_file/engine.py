"""The engine: the primitives over one store, from one event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import ClassVar, NamedTuple, TypeVar

from oacp_storage_core import Damage, RetentionPick, StorageUsageError
from oacp_storage_engine import (
    Doc,
    DocKind,
    Engine,
    Erased,
    Hint,
    Info,
    Outcome,
    Page,
    Record,
    Trimmed,
    Unit,
)
from oacp_storage_file.access import Access
from oacp_storage_file.auto_backup import AutoBackup, Schedule
from oacp_storage_file.checking import check_agent, check_names, check_store, missing_document
from oacp_storage_file.commit import Committer
from oacp_storage_file.disk import Disk
from oacp_storage_file.document_reader import DocumentReader
from oacp_storage_file.erasure import Trash, abandoned, hide
from oacp_storage_file.format_mark import FormatMark, Upgrade
from oacp_storage_file.layout import AGENT_FILE, SCHEMA, Layout, NamespaceLayout
from oacp_storage_file.listing import Listings, select
from oacp_storage_file.log_reader import read_page
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import Lists, read_agent_file
from oacp_storage_file.naming import Kind
from oacp_storage_file.optimistic import QuietReads
from oacp_storage_file.retention import Cut, Retention, count_cut, misses_below, plan_cut
from oacp_storage_file.seqlock import SequenceLock
from oacp_storage_file.store import Store
from oacp_storage_file.upgrades import UPGRADES

T = TypeVar("T")

_POLL = 0.05  # seconds between looks at what other processes did, while somebody watches
_CLOSING = 5.0  # seconds that closing waits, for a lock that a stopped process may hold for ever


class _Parts(NamedTuple):
    """What there is once the engine is open."""

    store: Store
    committer: Committer
    retention: Retention
    quiet: QuietReads
    backups: AutoBackup | None


class FileEngine(Engine):
    """The primitives over the store in ``root``, an absolute path."""

    schema: ClassVar[int] = SCHEMA
    """The schema version that this release works with."""

    upgrades: ClassVar[Mapping[int, Upgrade]] = UPGRADES
    """``upgrades[n]`` brings a store from version n-1 to n."""

    def __init__(
        self,
        root: str,
        namespace: str,
        *,
        max_file_size: int,
        schedule: Schedule | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._layout = Layout(root)
        self._names = NamespaceLayout(namespace)
        self._max_file_size = max_file_size
        self._schedule = schedule
        self._disk = disk or Disk()
        self._listings = Listings()
        self._lists = Lists(self._layout)
        self._documents = DocumentReader(self._layout, self._names, self._lists)
        self._access = Access(root)
        self._trash: dict[str, list[Trash]] = {}
        self._parts: _Parts | None = None

    # --- opening and closing ------------------------------------------------------------------------------

    async def open(self) -> Info:
        await self._access.alone(self._open)
        return self._info()

    def _open(self) -> None:
        store = self._open_store(self._access.begin_job)
        mark = FormatMark(self._disk, self._layout, self.schema, self.upgrades)
        shared = SequenceLock(self._disk, self._layout.inner("position"))
        self._parts = _Parts(
            store,
            Committer(store, self._names, self._lists, self._max_file_size),
            Retention(store, self._names),
            QuietReads(mark, shared),
            AutoBackup(self._layout, self._open_store, self._schedule) if self._schedule else None,
        )
        for trash in abandoned(store):
            trash.remove(self._disk, sys.maxsize)

    def _open_store(self, on_lock: Callable[[], None] = lambda: None) -> Store:
        return Store.open(
            self._layout, self._disk, schema=self.schema, upgrades=self.upgrades, on_lock=on_lock
        )

    async def close(self) -> None:
        await self._access.stop(self._close, _CLOSING)

    def abandon(self) -> None:
        self._access.abandon(self._abandon)

    def _close(self) -> None:
        if self._parts is not None:
            if self._parts.backups is not None:
                self._parts.backups.stop(_CLOSING)
            self._release(self._parts)
            self._parts.store.close()

    def _abandon(self) -> None:
        if self._parts is not None:
            if self._parts.backups is not None:
                self._parts.backups.stop(0)
            self._release(self._parts)
            self._parts.store.abandon()

    def _release(self, parts: _Parts) -> None:
        parts.quiet.close()
        parts.committer.close()
        for hidden in self._trash.values():
            for trash in hidden:
                trash.release()
        self._trash.clear()

    @property
    def _now(self) -> _Parts:
        if self._parts is None:
            raise StorageUsageError("the engine is not open")
        return self._parts

    # --- writing ------------------------------------------------------------------------------------------

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        return await self._access.write(partial(self._now.committer.commit, units), deadline)

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
        removed = 0
        for agent in agents:
            sequences: frozenset[int] | None = None
            if pick.ids is not None:
                found = await self._access.write(partial(self._now.committer.find, agent, pick.ids), deadline)
                sequences = frozenset(record.sequence for record in found)
            cut, counts, misses = await self._read_log(agent, partial(_plan, pick=pick, sequences=sequences))
            if misses and not counts and not dry_run:
                await self._access.write(partial(self._now.retention.give_up_missing, agent, cut), deadline)
            for first, count in counts:
                if dry_run:
                    removed += count
                    continue
                if removed >= limit:
                    return Trimmed(removed, more=True)
                step = partial(self._now.retention.cut_segment, agent, first, cut)
                removed += await self._access.write(step, deadline)
        return Trimmed(removed)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        hidden = await self._access.write(partial(self._to_remove, agent, begin), deadline)
        return await self._access.beside(partial(self._remove, hidden, limit))

    def _to_remove(self, agent: str, begin: bool) -> list[Trash]:
        """What of the agent is hidden and has to be removed; ``begin`` hides what it has now."""
        if begin:
            trash = hide(self._now.store, self._names, agent)
            if trash is not None:
                self._trash.setdefault(agent, []).append(trash)
        elif not self._trash.get(agent):
            self._trash[agent] = abandoned(self._now.store, self._names.identity(agent))
        return self._trash.get(agent, [])

    def _remove(self, hidden: list[Trash], limit: int) -> Erased:
        total = Erased()
        while hidden and not total.more:
            step = hidden[0].remove(self._disk, limit)
            if not step.more:
                hidden.pop(0)
            total = Erased(
                total.interactions + step.interactions,
                total.states + step.states,
                total.learning + step.learning,
                step.more or bool(hidden),
            )
        return total

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
        return await self._read_log(
            agent,
            lambda view: read_page(
                view, low, high, reverse=reverse, limit=limit, max_bytes=max_bytes, hint=hint
            ),
        )

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        if low > 0 or high is not None or hint is not None:
            return None
        counted = await self._read_log(agent, lambda view: (view.count_lines(),))
        return counted[0]

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        return await self._access.alone(partial(self._now.committer.find, agent, ids))

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        return await self._read_documents(partial(self._documents.read, agent, kind, keys))

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        if kind is DocKind.STATE:
            return [doc for doc in await self.read_docs(agent, kind, [""]) if doc is not None]
        scan = partial(self._documents.scan, agent, prefix=prefix, after=after, limit=limit)
        return await self._read_documents(lambda removed: scan(removed=removed))

    async def _read_documents(self, look: Callable[[AbstractSet[str] | None], T]) -> T:
        """What ``look`` finds; what it misses, it misses with the commit lock held."""
        parts = self._now
        store = parts.store
        return await self._access.read(
            store, parts.quiet, lambda: look(None), locked=lambda: look(store.removed())
        )

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        directory = self._layout.absolute(self._names.agents)

        def look() -> list[str]:
            names = self._listings.names(directory, Kind.AGENT, "", _agent_in)
            return select(names, prefix=prefix, after=after, limit=limit)

        return await self._read(look)

    async def _read(self, look: Callable[[], T]) -> T:
        parts = self._now
        return await self._access.read(parts.store, parts.quiet, look)

    async def _read_log(self, agent: str, use: Callable[[LogView], T]) -> T:
        parts = self._now
        view = partial(LogView, self._layout, self._names, agent)
        return await self._access.read_log(parts.store, parts.quiet, view, use)

    # --- watching and checking ----------------------------------------------------------------------------

    async def signals(self) -> AsyncIterator[str | None]:
        quiet = self._now.quiet
        seen = quiet.position()
        yield None  # what was committed before this looked is found by reading
        while True:
            await asyncio.sleep(_POLL)
            now = quiet.position()
            if now != seen:
                seen = now
                yield None

    async def inspect(self) -> Info:
        await self._read(self._now.quiet.position)
        return self._info()

    def _info(self) -> Info:
        parts = self._now
        troubles = (parts.store.trouble, parts.backups.trouble if parts.backups is not None else None)
        warnings = [trouble for trouble in troubles if trouble is not None]
        warnings += [damage.reason for damage in check_store(self._layout)]
        return Info(None, self.schema, "power-cut", tuple(warnings))

    async def check(self) -> AsyncIterator[Damage]:
        layout, names = self._layout, self._names
        for damage in await self._read(lambda: [*check_store(layout), *check_names(layout, names)]):
            yield damage
        for damage in await self._check_unnamed(None):
            yield damage
        after: str | None = None
        while agents := await self.scan_agents(prefix="", after=after, limit=500):
            for agent in agents:
                for damage in await self._read(partial(_check_agent, layout, names, agent)):
                    yield damage
                for damage in await self._check_unnamed(agent):
                    yield damage
            after = agents[-1]

    async def _check_unnamed(self, agent: str | None) -> list[Damage]:
        files = await self._read_documents(lambda removed: self._documents.unnamed(agent, removed))
        return [missing_document(self._layout, file, agent) for file in files]


def _plan(
    view: LogView, *, pick: RetentionPick, sequences: frozenset[int] | None
) -> tuple[Cut, list[tuple[int, int]], bool]:
    cut = plan_cut(view, pick, sequences)
    return cut, count_cut(view, cut), misses_below(view, cut)


def _check_agent(layout: Layout, names: NamespaceLayout, agent: str) -> list[Damage]:
    return list(check_agent(layout, names, agent))


def _agent_in(path: str) -> str | None:
    kept = read_agent_file(f"{path}/{AGENT_FILE}")
    return kept.agent_id if kept is not None else None
