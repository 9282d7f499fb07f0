"""A view of one agent's log: its segments as they were at one moment, and its last assigned sequence.

Taken in an instant, while no commit is being applied; read at leisure afterwards. What a view covers does not
change: segments are only appended to, and rewritten ones are new files.
"""

from __future__ import annotations

import os
from typing import Self

from oacp_storage_file.damage import sort_out
from oacp_storage_file.layout import AGENT_FILE, Layout, NamespaceLayout, segment_first, segment_name
from oacp_storage_file.manifest import read_agent_file
from oacp_storage_file.runs import Run, count
from oacp_storage_file.segment import Segment, intact_record


class LogView:
    """The log of one agent. ``exists`` tells whether there is an agent at all; close the view after use.

    ``present`` are the runs of sequences that the log must have, ``last`` the last one that its segments do have.
    """

    def __init__(self, layout: Layout, names: NamespaceLayout, agent: str) -> None:
        self.root = layout.root
        self.agent = agent
        self.directory = layout.absolute(names.agent(agent))
        self._open: dict[int, Segment] = {}
        try:
            entries = os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            entries = []
            self.exists = False
        else:
            self.exists = True
        self.firsts = sorted(first for name in entries if (first := segment_first(name)) is not None)
        self.present: list[Run] = []
        self._manifest_stamp = self._stamp()
        self.last = self._last_in_segments()
        self.head = max(self.last, self.firsts[-1] - 1 if self.firsts else 0)
        if AGENT_FILE in entries and (kept := read_agent_file(self._manifest)) is not None:
            self.present = kept.present
            self.head = max(self.head, kept.last_sequence)
        if not self.head:
            erased = read_agent_file(layout.absolute(names.tombstone(agent)))
            self.head = erased.last_sequence if erased else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all segments."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()

    @property
    def misses_end(self) -> bool:
        """Whether the end of the log is not there any more."""
        return bool(self.present) and self.present[-1][1] > self.last

    def check_current(self) -> None:
        """``FileNotFoundError`` when retention removed something since the view was taken, or the agent is gone.

        What is missed may then have been removed properly.
        """
        if self._stamp() != self._manifest_stamp:
            raise FileNotFoundError(f"{self._manifest} was replaced")

    def count_lines(self) -> int | None:
        """How many records there are, without reading them; None when some are missing."""
        lines = sum(self.segment(index).count_lines() for index in range(len(self.firsts)))
        return lines if lines >= count(self.present) else None

    def segment(self, index: int) -> Segment:
        """The segment at this place in the log, opened. ``FileNotFoundError`` when retention removed it."""
        first = self.firsts[index]
        segment = self._open.get(first)
        if segment is None:
            segment = Segment(self.agent, f"{self.directory}/{segment_name(first)}", first)
            self._open[first] = segment
        return segment

    def let_go(self, index: int) -> None:
        """Close a segment that was read through, unless it is the last, whose size belongs to the view."""
        if index < len(self.firsts) - 1:
            segment = self._open.pop(self.firsts[index], None)
            if segment is not None:
                segment.close()

    def index_of(self, sequence: int) -> int:
        """The segment in which a sequence would stand, by its name."""
        index = 0
        while index + 1 < len(self.firsts) and self.firsts[index + 1] <= sequence:
            index += 1
        return index

    def upper(self, index: int) -> int | None:
        """What every sequence in this segment is below; None for the last one."""
        return self.firsts[index + 1] if index + 1 < len(self.firsts) else None

    @property
    def _manifest(self) -> str:
        return f"{self.directory}/{AGENT_FILE}"

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self._manifest)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _last_in_segments(self) -> int:
        """The last sequence that stands in a segment, 0 when all are empty."""
        for index in range(len(self.firsts) - 1, -1, -1):
            segment = self.segment(index)
            if segment.size == 0:
                continue
            limit = 1
            while True:
                lines, start = segment.lines_before(segment.size, limit=limit, max_bytes=1 << 30)
                trusted = intact_record(self.agent, lines[0])
                if trusted is not None and len(lines) == 1:
                    return trusted.sequence
                if trusted is not None or start == 0:
                    before = segment.first - 1 if trusted is None else trusted.sequence - 1
                    records = sort_out(self.agent, lines, before, self.upper(index))
                    return records[-1].sequence if records else before
                limit *= 4
        return 0
