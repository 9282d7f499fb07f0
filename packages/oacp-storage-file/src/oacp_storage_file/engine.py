"""The engine: the primitives over one store, from one event loop.

One thread commits, under the commit lock; a few others read, guarded by the sequence lock alone. A read that
finds no quiet moment takes its view in the committing thread, under the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import ClassVar, TypeVar

from oacp_storage_core import Damage, RetentionPick, StorageError
from oacp_storage_engine import (
    Doc,
    DocKind,
    Engine,
    Erased,
    Hint,
    Info,
    NotApplied,
    Outcome,
    Page,
    Record,
    Trimmed,
    Unit,
    Unknown,
)

from oacp_storage_file.checking import check_agent, check_names, check_store
from oacp_storage_file.commit import Committer
from oacp_storage_file.disk import Disk
from oacp_storage_file.documents import read_document
from oacp_storage_file.erasure import Trash, abandoned, hide
from oacp_storage_file.format_mark import FormatMark, Upgrade
from oacp_storage_file.layout import AGENT_FILE, LEARNING, SCHEMA, Layout, NamespaceLayout, document_name
from oacp_storage_file.listing import Listings, select
from oacp_storage_file.log_reader import read_page
from oacp_storage_file.log_view import LogView, read_agent_file
from oacp_storage_file.naming import Kind
from oacp_storage_file.optimistic import NotQuietError, QuietReads
from oacp_storage_file.retention import Retention, count_cut, plan_cut
from oacp_storage_file.seqlock import SequenceLock
from oacp_storage_file.store import Store
from oacp_storage_file.worker import Job, Worker

T = TypeVar("T")
V = TypeVar("V")

_READERS = 4
_POLL = 0.05  # seconds between looks at what other processes did, while somebody watches
_CLOSING = 5.0  # seconds that closing waits for the lock


class FileEngine(Engine):
    """The primitives over the store in ``root``, an absolute path."""

    schema: ClassVar[int] = SCHEMA
    """The schema version that this release works with."""

    upgrades: ClassVar[Mapping[int, Upgrade]] = {}
    """``upgrades[n]`` brings a store from version n-1 to n."""

    def __init__(self, root: str, namespace: str, *, max_file_size: int, disk: Disk | None = None) -> None:
        self._layout = Layout(root)
        self._names = NamespaceLayout(namespace)
        self._disk = disk or Disk()
        self._store = Store(self._layout, self._disk, schema=self.schema, upgrades=self.upgrades)
        self._store.on_lock = self._begin_job
        self._committer = Committer(self._store, self._names, max_file_size)
        self._retention = Retention(self._store, self._names)
        self._listings = Listings()
        self._quiet: QuietReads | None = None
        self._writer = Worker("commits")
        self._readers = Worker("reads", _READERS)
        self._pid = os.getpid()
        self._trash: dict[str, list[Trash]] = {}

    # --- opening and closing ------------------------------------------------------------------------------

    async def open(self) -> Info:
        await self._writer.run(lambda: self._translated(self._open))
        return self._info()

    def _open(self) -> None:
        self._store.open()
        for trash in abandoned(self._store):
            trash.remove(self._disk, sys.maxsize)
        mark = FormatMark(self._disk, self._layout, self.schema, self.upgrades)
        self._quiet = QuietReads(mark, SequenceLock(self._disk, self._layout.inner("position")))

    async def close(self) -> None:
        job = self._writer.submit(self._close_store)
        self._stop()
        # A stopped process may hold the lock for ever. What stands in the journal then, the next open recovers.
        await asyncio.wait([job.future], timeout=_CLOSING)
        if self._quiet is not None:
            self._quiet.close()

    def _close_store(self) -> None:
        self._release()
        self._store.close()

    def abandon(self) -> None:
        if self._pid == os.getpid():
            self._writer.post(self._abandon_store)
            self._stop()
        else:
            self._abandon_store()  # the threads are the parent's; descriptors here are this child's own

    def _abandon_store(self) -> None:
        self._release()
        self._store.abandon()
        if self._quiet is not None:
            self._quiet.close()

    def _release(self) -> None:
        self._committer.close()
        for hidden in self._trash.values():
            for trash in hidden:
                trash.release()
        self._trash.clear()

    def _stop(self) -> None:
        self._writer.stop()
        self._readers.stop()

    # --- writing ------------------------------------------------------------------------------------------

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        return await self._write(lambda: self._committer.commit(units), deadline)

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
                records = await self._write(lambda agent=agent: self._find(agent, pick.ids or ()), deadline)
                sequences = frozenset(record.sequence for record in records)
            cut, counts = await self._read_log(
                agent,
                lambda view, sequences=sequences: (
                    cut := plan_cut(view, pick, sequences),
                    count_cut(view, cut),
                ),
            )
            for first, count in counts:
                if dry_run:
                    removed += count
                    continue
                if removed >= limit:
                    return Trimmed(removed, more=True)
                removed += await self._write(
                    lambda agent=agent, first=first, cut=cut: self._retention.cut_segment(agent, first, cut),
                    deadline,
                )
        return Trimmed(removed)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        hidden = await self._write(lambda: self._to_remove(agent, begin), deadline)
        return await self._readers.run(lambda: self._translated(lambda: self._remove(hidden, limit)))

    def _to_remove(self, agent: str, begin: bool) -> list[Trash]:
        """What of the agent is hidden and has to be removed; ``begin`` hides what it has now."""
        if begin:
            trash = hide(self._store, self._names, agent)
            if trash is not None:
                self._trash.setdefault(agent, []).append(trash)
        elif not self._trash.get(agent):
            self._trash[agent] = abandoned(self._store, self._names.identity(agent))
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

    def _find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        return self._committer.find(agent, ids)

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
        return await self._read_log(
            agent, lambda view: sum(view.segment(index).count_lines() for index in range(len(view.firsts)))
        )

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        return await self._writer.run(lambda: self._translated(lambda: self._find(agent, ids)))

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        paths = [(self._layout.absolute(self._names.document(agent, kind, key)), key) for key in keys]
        return await self._read(lambda: [read_document(path, key) for path, key in paths])

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        if kind is DocKind.STATE:
            return [doc for doc in await self.read_docs(agent, kind, [""]) if doc is not None]
        directory = self._layout.absolute(
            self._names.system if agent is None else f"{self._names.agent(agent)}/{LEARNING}"
        )

        def look() -> list[Doc]:
            names = self._listings.names(directory, Kind.KEY, ".json", _key_in)
            chosen = select(names, prefix=prefix, after=after, limit=limit)
            docs = [read_document(f"{directory}/{document_name(key)}", key) for key in chosen]
            return [doc for doc in docs if doc is not None]

        return await self._read(look)

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        directory = self._layout.absolute(self._names.agents)

        def look() -> list[str]:
            names = self._listings.names(directory, Kind.AGENT, "", _agent_in)
            return select(names, prefix=prefix, after=after, limit=limit)

        return await self._read(look)

    # --- watching and checking ----------------------------------------------------------------------------

    async def signals(self) -> AsyncIterator[str | None]:
        quiet = self._opened()
        seen = quiet.position()
        while True:
            await asyncio.sleep(_POLL)
            now = quiet.position()
            if now != seen:
                seen = now
                yield None

    async def inspect(self) -> Info:
        await self._read(lambda: self._opened().position())
        return self._info()

    def _info(self) -> Info:
        warnings = [self._store.trouble] if self._store.trouble else []
        warnings += [damage.reason for damage in check_store(self._layout)]
        return Info(None, self.schema, "power-cut", tuple(warnings))

    async def check(self) -> AsyncIterator[Damage]:
        layout, names = self._layout, self._names
        for damage in await self._read(lambda: [*check_store(layout), *check_names(layout, names)]):
            yield damage
        after: str | None = None
        while agents := await self.scan_agents(prefix="", after=after, limit=500):
            for agent in agents:
                for damage in await self._read(lambda agent=agent: list(check_agent(layout, names, agent))):
                    yield damage
            after = agents[-1]

    # --- threads ------------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[], T], deadline: float) -> T:
        """Do work in the committing thread, or give it up at the deadline if it has not begun."""
        loop = asyncio.get_running_loop()
        job = self._writer.submit(lambda: self._translated(work))
        timer = loop.call_at(deadline, self._expire, job)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.give_up()
            raise
        finally:
            timer.cancel()

    def _expire(self, job: Job[T]) -> None:
        if job.future.done():
            return
        if job.give_up():
            job.future.set_exception(
                NotApplied(f"the lock of {self._layout.root} was held by others for the whole time")
            )
        else:
            job.future.set_exception(Unknown(f"the disk under {self._layout.root} did not answer in time"))

    def _begin_job(self) -> None:
        """The committing thread has the lock: from here on its job is not given up."""
        job = self._writer.current
        if job is not None:
            job.begin()

    async def _read(self, look: Callable[[], T]) -> T:
        """What ``look`` finds while no commit is half applied."""
        try:
            return await self._readers.run(lambda: self._translated(lambda: self._opened().take(look)))
        except NotQuietError:
            return await self._writer.run(lambda: self._translated(lambda: self._locked(look)))

    async def _read_log(self, agent: str, use: Callable[[LogView], T]) -> T:
        """Use a view of an agent's log, taken while no commit is half applied."""

        def quiet() -> T:
            with self._opened().take(view, LogView.close) as found:
                return use(found)

        def locked() -> T:
            with self._locked(view) as found:
                return use(found)

        def view() -> LogView:
            return LogView(self._layout, self._names, agent)

        while True:
            with contextlib.suppress(FileNotFoundError):  # retention took a segment from under the view
                try:
                    return await self._readers.run(lambda: self._translated(quiet))
                except NotQuietError:
                    return await self._writer.run(lambda: self._translated(locked))

    def _locked(self, look: Callable[[], V]) -> V:
        with self._store.locked():
            return look()

    def _opened(self) -> QuietReads:
        assert self._quiet is not None
        return self._quiet

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (StorageError, FileNotFoundError):
            raise
        except (OSError, sqlite3.Error) as exc:
            raise StorageError(f"the store in {self._layout.root} cannot be used: {exc}") from exc


def _agent_in(path: str) -> str | None:
    kept = read_agent_file(f"{path}/{AGENT_FILE}")
    return kept.agent_id if kept is not None else None


def _key_in(path: str) -> str | None:
    doc = read_document(path, None)
    return doc.key if doc is not None and doc.damage is None else None
