"""Retention: interactions go by id, age and count, a segment at a time.

Segments of which everything goes are unlinked, others are written anew beside the old one and renamed over it. Before
that, ``agent.json`` no longer says that what goes is there; the last sequence stays in it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from oacp_storage_core import RetentionPick
from oacp_storage_file.damage import sort_out
from oacp_storage_file.ids_database import remove_database
from oacp_storage_file.layout import AGENT_FILE, IDS_FILE, NamespaceLayout
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import AgentFile, read_agent_file, replace_manifests
from oacp_storage_file.naming import Kind, is_hashed
from oacp_storage_file.runs import Run, between, joined, without
from oacp_storage_file.segment import Segment, intact_record
from oacp_storage_file.store import Store

_CHUNK_LINES = 2_000
_CHUNK_BYTES = 4 * 1024 * 1024


class Cut(NamedTuple):
    """What goes from one agent's log.

    Records below ``boundary`` that are older than ``before_us`` and have one of the ``sequences``; None stands for
    no such condition.
    """

    boundary: int
    before_us: int | None
    sequences: frozenset[int] | None

    def takes(self, sequence: int, at_us: int) -> bool:
        """Whether an undamaged record goes."""
        return (
            sequence < self.boundary
            and (self.before_us is None or at_us < self.before_us)
            and (self.sequences is None or sequence in self.sequences)
        )

    @property
    def takes_all_below(self) -> bool:
        """Whether the place in the log alone decides."""
        return self.before_us is None and self.sequences is None


def plan_cut(view: LogView, pick: RetentionPick, sequences: frozenset[int] | None) -> Cut:
    """The cut that a pick means for a log as it is now; ``sequences`` are those of the pick's ids."""
    boundary = view.head + 1 if pick.keep_last is None else _boundary(view, pick.keep_last)
    return Cut(boundary, pick.before_us, sequences)


def _boundary(view: LogView, keep: int) -> int:
    """The sequence of the oldest of the newest ``keep`` records; with fewer, that of the first one."""
    if keep == 0:
        return view.head + 1
    boundary = 1
    for index in range(len(view.firsts) - 1, -1, -1):
        segment = view.segment(index)
        end = segment.size
        while end > 0:
            lines, end = segment.lines_before(end, limit=min(keep, _CHUNK_LINES), max_bytes=_CHUNK_BYTES)
            keep -= len(lines)
            if keep == 0:
                records = sort_out(view.agent, lines, segment.first - 1, view.upper(index))
                return records[0].sequence if records else boundary
        view.let_go(index)
    return boundary


def count_cut(view: LogView, cut: Cut) -> list[tuple[int, int]]:
    """What a cut takes: pairs of a segment's first sequence and how many, where there are any."""
    found: list[tuple[int, int]] = []
    for index, first in enumerate(view.firsts):
        if first >= cut.boundary:
            break
        taken = sum(goes for _, goes, _ in _lines(view.segment(index), view.upper(index), cut))
        if taken:
            found.append((first, taken))
        view.let_go(index)
    return found


def misses_below(view: LogView, cut: Cut) -> bool:
    """Whether the log should have interactions of which the cut takes all there are."""
    return cut.takes_all_below and between(view.present, 0, cut.boundary) is not None


def _lines(segment: Segment, upper: int | None, cut: Cut) -> Iterator[tuple[bytes, bool, int]]:
    """Every line of a segment, whether it goes, and its sequence, 0 where it is damaged.

    Of a damaged line nothing is known but its place: it goes where that alone decides, and is surely below.
    """
    unsure: list[bytes] = []
    offset = 0
    while offset < segment.size:
        lines, offset = segment.lines(offset, limit=_CHUNK_LINES, max_bytes=_CHUNK_BYTES)
        for line in lines:
            record = intact_record(segment.agent, line)
            if record is None:
                unsure.append(line)
                continue
            below = cut.takes_all_below and record.sequence <= cut.boundary
            yield from ((damaged, below, 0) for damaged in unsure)
            unsure.clear()
            yield line, cut.takes(record.sequence, record.at_us), record.sequence
    below = cut.takes_all_below and upper is not None and upper <= cut.boundary
    yield from ((damaged, below, 0) for damaged in unsure)


class Retention:
    """Carries out cuts in one namespace. Everything happens in the store's thread."""

    def __init__(self, store: Store, names: NamespaceLayout) -> None:
        self._store = store
        self._names = names

    def cut_segment(self, agent: str, first: int, cut: Cut) -> int:
        """Take from one segment what the cut says; returns how many interactions went.

        One step: the lock is held for one reading and writing of the segment.
        """
        store = self._store
        with store.locked(), LogView(store.layout, self._names, agent) as view:
            if first not in view.firsts:
                return 0
            index = view.firsts.index(first)
            segment = view.segment(index)
            temporary = f"{store.layout.temporary}/segment"
            kept, gone, taken = self._write_kept(segment, view.upper(index), cut, temporary)
            if not taken:
                return 0
            with store.beside_the_journal():
                self._note(view, cut, gone)
                if kept or index == len(view.firsts) - 1:
                    # The last segment stays, if empty: the one before may be shared with a backup.
                    store.disk.rename(temporary, segment.path)
                else:
                    store.disk.unlink(segment.path)
                store.disk.sync_directory(view.directory)
            with contextlib.suppress(FileNotFoundError):
                remove_database(f"{view.directory}/{IDS_FILE}")
            return taken

    def give_up_missing(self, agent: str, cut: Cut) -> None:
        """No longer miss what a cut would take if it were there."""
        store = self._store
        with (
            store.locked(),
            LogView(store.layout, self._names, agent) as view,
            store.beside_the_journal(),
        ):
            self._note(view, cut, [])

    def _write_kept(
        self, segment: Segment, upper: int | None, cut: Cut, temporary: str
    ) -> tuple[int, list[Run], int]:
        """Write the lines that stay into a new file: how many stay, which sequences go, and how many lines."""
        disk = self._store.disk
        kept = taken = offset = 0
        gone: list[Run] = []
        waiting: list[bytes] = []
        fd = disk.open(temporary, create=True)
        try:
            disk.truncate(fd, 0)
            for line, goes, sequence in _lines(segment, upper, cut):
                if goes:
                    taken += 1
                    gone[-1:] = joined([*gone[-1:], (sequence, sequence)]) if sequence else gone[-1:]
                    continue
                kept += 1
                waiting.append(line + b"\n")
                if len(waiting) == _CHUNK_LINES:
                    offset += self._write_lines(fd, waiting, offset)
            self._write_lines(fd, waiting, offset)
            if taken:
                disk.sync(fd)
        finally:
            disk.close(fd)
        return kept, gone, taken

    def _write_lines(self, fd: int, waiting: list[bytes], offset: int) -> int:
        data = b"".join(waiting)
        waiting.clear()
        self._store.disk.write(fd, data, offset)
        return len(data)

    def _note(self, view: LogView, cut: Cut, gone: list[Run]) -> None:
        """Write down what the log no longer has, and its last sequence, whose record may go."""
        name = os.path.basename(view.directory)
        path = f"{view.directory}/{AGENT_FILE}"
        agent_id = view.agent if is_hashed(Kind.AGENT, name) else None
        kept = read_agent_file(path) or AgentFile(view.head, agent_id)
        taken = [(1, cut.boundary - 1)] if cut.takes_all_below else gone
        now = AgentFile(max(view.head, kept.last_sequence), agent_id, without(kept.present, taken))
        replace_manifests(self._store.disk, {path: now}, f"{self._store.layout.temporary}/agent")
        self._store.disk.sync_directory(view.directory)
