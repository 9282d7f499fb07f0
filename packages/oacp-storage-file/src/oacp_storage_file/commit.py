"""Committing: units are judged against the store as it is, and what is to be written becomes one group."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterable, Sequence

from oacp_storage_core import StorageError
from oacp_storage_engine import (
    DocRef,
    Known,
    Outcome,
    Plan,
    Record,
    Rejected,
    Snapshot,
    Unit,
    Wanted,
    judge,
    wanted,
)
from oacp_storage_file.caches import Tail
from oacp_storage_file.documents import read_document
from oacp_storage_file.group import Group
from oacp_storage_file.ids_index import IdIndex
from oacp_storage_file.journal_format import Write
from oacp_storage_file.layout import NamespaceLayout, segment_name
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import Lists
from oacp_storage_file.store import Store

_LARGEST_SEQUENCE = 2**63 - 1


class Committer:
    """Commits units of one namespace. Everything happens in the store's thread."""

    def __init__(self, store: Store, names: NamespaceLayout, lists: Lists, max_file_size: int) -> None:
        self._store = store
        self._names = names
        self._lists = lists
        self._max_file_size = max_file_size
        self._ids = IdIndex(store.layout, names)
        self._epoch = -1

    def close(self) -> None:
        """Close what the index has open."""
        self._ids.clear()

    def commit(self, units: Sequence[Unit]) -> list[Outcome]:
        """Judge and apply; the primitive ``commit``.

        Where given ids are looked up in a log that is not indexed yet, the lock is given up between bounded
        steps of indexing.
        """
        want = wanted(units)
        while True:
            with self._store.locked():
                if self._catch_up({agent for agent, _ in want.ids}):
                    return self._commit(units, want)

    def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        """The records of these ids; the primitive ``find``."""
        while True:
            with self._store.locked():
                if self._catch_up([agent]):
                    with self._view(agent) as view:
                        return self._ids.find(view, ids)

    def _notice_replaced(self) -> None:
        """Forget ids where files were replaced, logs and their databases among them."""
        epoch = self._store.position.epoch
        if epoch != self._epoch:
            self._ids.clear()
            self._epoch = epoch

    def _catch_up(self, agents: Iterable[str]) -> bool:
        self._notice_replaced()
        for agent in agents:
            with self._view(agent) as view:
                if not self._ids.catch_up(view):
                    return False
        return True

    def _view(self, agent: str) -> LogView:
        return LogView(self._store.layout, self._names, agent)

    def _commit(self, units: Sequence[Unit], want: Wanted) -> list[Outcome]:
        tails = {agent: self.tail(agent) for agent in want.agents}
        snapshot = Snapshot(
            {agent: tail.head for agent, tail in tails.items()},
            self._records(want.ids) if want.ids else {},
            {ref: self._version(ref) for ref in want.documents},
        )
        plan = judge(units, snapshot)
        if plan.heads or plan.documents:
            self._write(plan, tails)
        return plan.outcomes

    def tail(self, agent: str) -> Tail:
        """The end of an agent's log, from the cache or the files; a torn tail is cut off."""
        directory = self._names.agent(agent)
        tail = self._store.caches.tails.get(directory)
        if tail is None:
            with self._view(agent) as view:
                tail = self._end_of(view, directory)
            self._store.caches.remember_tail(directory, tail)
        return tail

    def _end_of(self, view: LogView, directory: str) -> Tail:
        if not view.firsts:
            return Tail(view.exists, view.head, None, 0)
        last = view.segment(len(view.firsts) - 1)
        file = f"{directory}/{segment_name(last.first)}"
        if view.misses_end or (last.size and last.read(last.size - 1, last.size) != b"\n"):
            return Tail(True, view.head, None, 0)  # where the end is damaged, go on in a new segment
        if self._store.files.size(file) > last.size:
            self._store.files.truncate(file, last.size)
        return Tail(True, view.head, file, last.size)

    def _records(self, ids: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Known]:
        by_agent: dict[str, list[str]] = {}
        for agent, one in ids:
            by_agent.setdefault(agent, []).append(one)
        found: dict[tuple[str, str], Known] = {}
        for agent, of_agent in by_agent.items():
            with self._view(agent) as view:
                for record in self._ids.find(view, of_agent):
                    found[agent, record.id] = Known(record.sequence, record.body)
        return found

    def _version(self, ref: DocRef) -> int:
        file = self._names.document(*ref)
        version = self._store.caches.versions.get(file)
        if version is None:
            doc = read_document(self._store.layout.absolute(file), ref.key)
            version = doc.version if doc is not None else self._missing_version(file)
            self._store.caches.remember_version(file, version)
        return version

    def _missing_version(self, file: str) -> int:
        """The version of a document whose file somebody removed: it goes on from there. 0 where there is none."""
        version = self._lists.version(file)
        return version if version and file not in self._store.removed() else 0

    def _write(self, plan: Plan, tails: dict[str, Tail]) -> None:
        if plan.heads and max(plan.heads.values()) > _LARGEST_SEQUENCE:
            raise Rejected(f"a sequence is greater than {_LARGEST_SEQUENCE}; nothing was written")
        heads = {agent: tails[agent].head for agent in plan.heads} if self._ids.active else {}
        group = Group(plan, tails, self._names, self._max_file_size)
        self._store_group(group.writes, group.contents)
        group.remember(self._store.caches)
        if heads:
            self._index(plan, heads)
        self._store.checkpoint_if_due()

    def _index(self, plan: Plan, heads: dict[str, int]) -> None:
        """Follow in the index what is committed, and can no longer fail."""
        try:
            self._ids.follow(plan.rows, heads)
        except (OSError, sqlite3.Error):
            self._ids.clear()  # it is derived, and read again when it is asked

    def _store_group(self, writes: Sequence[Write], contents: Sequence[bytes]) -> None:
        try:
            self._store.write(writes, contents)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Rejected(
                    f"no room to write in {self._store.layout.root} ({exc.strerror}); nothing was changed: free "
                    "space and try again"
                ) from exc
            raise StorageError(
                f"writing in {self._store.layout.root} failed ({exc}); nothing was changed: check the disk"
            ) from exc
