"""The id index: finds interactions by id, for appends with given ids and for reading one.

Appends with generated ids do nothing for it; it reads on in the log when it is asked. The ids of an agent's
newest interactions are kept in memory, and moved in large steps into a database beside the log (``ids_database``),
so that looking up costs the same however long the log is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from oacp_storage_engine import Record, Row
from oacp_storage_file.ids_database import IdsDatabase, remove_database
from oacp_storage_file.layout import IDS_FILE, Layout, NamespaceLayout
from oacp_storage_file.log_reader import read_page
from oacp_storage_file.log_view import LogView

_MOST_IN_MEMORY = 50_000
_WORTH_KEEPING = 500
_STEP = 20_000
_PAGE = 1_000
_PAGE_BYTES = 4 * 1024 * 1024
_NEAR = 16
_DATABASES_OPEN = 8


class _Known:
    """What is indexed of an agent: up to ``covered`` in its database, up to ``upto`` in ``ids`` as well."""

    __slots__ = ("covered", "crc", "ids", "upto")

    def __init__(self, covered: int) -> None:
        self.covered = covered
        self.upto = covered
        self.crc = 0  # of the record at ``upto``
        self.ids: dict[str, int] = {}


class IdIndex:
    """The index over one namespace. Only who holds the commit lock uses it; ``clear`` it when files change."""

    def __init__(self, layout: Layout, names: NamespaceLayout) -> None:
        self._layout = layout
        self._names = names
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._in_memory = 0
        self._databases: OrderedDict[str, IdsDatabase] = OrderedDict()

    def clear(self) -> None:
        """Forget what is in memory and close all databases."""
        self._known.clear()
        self._in_memory = 0
        while self._databases:
            self._databases.popitem()[1].close()

    def catch_up(self, view: LogView) -> bool:
        """Index a bounded piece of the agent's log that is not indexed yet; whether all of it now is."""
        known = self._of(view)
        left = _STEP
        while known.upto < view.head and left > 0:
            page = read_page(view, known.upto, None, reverse=False, limit=_PAGE, max_bytes=_PAGE_BYTES)
            self._add(known, page.records)
            left -= max(len(page.records), 1)
            if page.next is None:
                known.upto = view.head
        self._make_room(view.agent)
        return known.upto >= view.head

    @property
    def active(self) -> bool:
        """Whether anything is in memory that ``follow`` could keep current."""
        return bool(self._known)

    def follow(self, rows: Sequence[Row], heads: Mapping[str, int]) -> None:
        """Index what was just appended after these ``heads``, where all before it is indexed."""
        following = {agent: known for agent in heads if (known := self._known.get(agent)) is not None}
        following = {agent: known for agent, known in following.items() if known.upto == heads[agent]}
        for agent, sequence, append in rows if following else ():
            known = following.get(agent)
            if known is not None:
                self._in_memory += append.id not in known.ids
                known.ids[append.id] = sequence
                known.upto, known.crc = sequence, append.crc
        for agent in following:
            self._make_room(agent)

    def find(self, view: LogView, ids: Iterable[str]) -> list[Record]:
        """The records of these ids; the log has been indexed up to its head.

        It is again where what was indexed had to make room meanwhile, for other agents of the same commit.
        """
        while not self.catch_up(view):
            continue
        wanted = set(ids)
        known = self._of(view)
        candidates = {sequence for one in wanted if (sequence := known.ids.get(one))}
        if known.covered:
            candidates.update(self._database(view.agent).candidates(sorted(wanted)))
        return [record for record in fetch(view, sorted(candidates)) if record.id in wanted]

    def _of(self, view: LogView) -> _Known:
        known = self._known.get(view.agent)
        if known is None:
            known = _Known(self._still_covered(view))
            self._known[view.agent] = known
        self._known.move_to_end(view.agent)
        return known

    def _still_covered(self, view: LogView) -> int:
        """What the database covers, if there is one and it belongs to this log; otherwise it goes."""
        path = self._path(view.agent)
        with contextlib.suppress(sqlite3.Error):
            database = self._existing_database(view.agent)
            if database is None:
                return 0
            covered, crc = database.covered()
            there = fetch(view, [covered]) if covered <= view.head else []
            # A record that retention removed cannot be compared; one that differs is of another history.
            if covered <= view.head and (not there or there[0].crc == crc):
                return covered
        self._close_database(view.agent)
        remove_database(path)
        return 0

    def _add(self, known: _Known, records: Sequence[Record]) -> None:
        before = len(known.ids)
        for record in records:
            if record.damage is None:
                known.ids[record.id] = record.sequence
            known.upto, known.crc = record.sequence, record.crc
        self._in_memory += len(known.ids) - before

    def _make_room(self, agent: str) -> None:
        while self._in_memory > _MOST_IN_MEMORY:
            oldest = next((one for one in self._known if self._known[one].ids and one != agent), agent)
            known = self._known[oldest]
            if oldest == agent or len(known.ids) >= _WORTH_KEEPING:
                self._database(oldest).add(known.ids.items(), known.upto, known.crc)
                known.covered = known.upto
                self._in_memory -= len(known.ids)
                known.ids.clear()
            if oldest != agent:
                self._in_memory -= len(known.ids)
                del self._known[oldest]

    def _path(self, agent: str) -> str:
        return f"{self._layout.absolute(self._names.agent(agent))}/{IDS_FILE}"

    def _existing_database(self, agent: str) -> IdsDatabase | None:
        return self._database(agent) if os.path.exists(self._path(agent)) else None

    def _database(self, agent: str) -> IdsDatabase:
        database = self._databases.get(agent)
        if database is None:
            while len(self._databases) >= _DATABASES_OPEN:
                self._databases.popitem(last=False)[1].close()
            database = self._databases[agent] = IdsDatabase(self._path(agent))
        self._databases.move_to_end(agent)
        return database

    def _close_database(self, agent: str) -> None:
        database = self._databases.pop(agent, None)
        if database is not None:
            database.close()


def fetch(view: LogView, sequences: Sequence[int]) -> list[Record]:
    """The records with these sequences, which are ascending; those close together are read together."""
    wanted = set(sequences)
    found: list[Record] = []
    start = 0
    while start < len(sequences):
        end = start
        while end + 1 < len(sequences) and sequences[end + 1] - sequences[end] <= _NEAR:
            end += 1
        low: int | None = sequences[start] - 1
        high = sequences[end] + 1
        while low is not None:
            limit = min(high - low, _PAGE)
            page = read_page(view, low, high, reverse=False, limit=limit, max_bytes=_PAGE_BYTES)
            found += [record for record in page.records if record.sequence in wanted]
            low = page.next
        start = end + 1
    return found
