"""A group: what a judged plan writes, as lines and whole files with their places."""

from __future__ import annotations

from typing import NamedTuple

from oacp_storage_engine import Plan
from oacp_storage_file.caches import Caches, Tail
from oacp_storage_file.documents import format_document
from oacp_storage_file.journal_format import FileRemoval, FileWrite, LogWrite, Write
from oacp_storage_file.layout import AGENT_FILE, NamespaceLayout, segment_name
from oacp_storage_file.lines import format_line
from oacp_storage_file.manifest import AgentFile, format_manifest
from oacp_storage_file.naming import Kind, is_hashed
from oacp_storage_file.runs import Run


class _Lines(NamedTuple):
    """What is appended to one log."""

    sequences: list[int]
    lines: list[bytes]


class _End(NamedTuple):
    tail: Tail
    file: str
    size: int
    head: int


class Group:
    """The writes of a plan and their contents, in the same order."""

    def __init__(
        self, plan: Plan, tails: dict[str, Tail], names: NamespaceLayout, max_file_size: int
    ) -> None:
        self.writes: list[Write] = []
        self.contents: list[bytes] = []
        self._names = names
        self._max_file_size = max_file_size
        self._new = [tails[agent] for agent in plan.heads if not tails[agent].exists]
        self._ends: list[_End] = []
        self._versions: list[tuple[str, int]] = []
        if self._new:
            self._begin_agents([agent for agent in plan.heads if not tails[agent].exists], tails)
        logs: dict[str, _Lines] = {}
        for agent, sequence, (one, _, at_us, body, crc, _) in plan.rows:
            log = logs.get(agent)
            if log is None:
                log = logs[agent] = _Lines([], [])
            log.sequences.append(sequence)
            log.lines.append(format_line(sequence, one, at_us, crc, body))
        for agent, log in logs.items():
            self._place(agent, tails[agent], log)
        if plan.documents:
            self._documents(plan)

    def remember(self, caches: Caches) -> None:
        """After the commit: follow it in what is remembered of the store."""
        for tail in self._new:
            tail.exists = True
        for tail, file, size, head in self._ends:
            tail.file, tail.size, tail.head = file, size, head
        for file, version in self._versions:
            caches.remember_version(file, version)

    def _begin_agents(self, agents: list[str], tails: dict[str, Tail]) -> None:
        """A manifest for each, with the name where that does not fit into a directory's name."""
        for agent in agents:
            directory = self._names.agent(agent)
            hashed = is_hashed(Kind.AGENT, directory.rpartition("/")[2])
            content = format_manifest(AgentFile(tails[agent].head, agent if hashed else None))
            self._add(FileWrite(f"{directory}/{AGENT_FILE}", len(content), 0), content)

    def _place(self, agent: str, tail: Tail, log: _Lines) -> None:
        """Say where the lines of an agent go: into its last segment, and new ones where that is full."""
        first, head = log.sequences[0], log.sequences[-1]
        content = b"".join(log.lines)
        size = (tail.size if tail.file else 0) + len(content)
        if size > self._max_file_size or head - first >= len(log.lines):
            self._place_each(agent, tail, log)
            return
        file = tail.file or self._segment(agent, first)
        self._add(LogWrite(file, size - len(content), len(content), head, first), content)
        self._ends.append(_End(tail, file, size, head))

    def _place_each(self, agent: str, tail: Tail, log: _Lines) -> None:
        """The same line by line: a segment may become full, or (in an import) sequences be left out."""
        first = head = log.sequences[0]
        file = tail.file or self._segment(agent, first)
        size = start = tail.size if tail.file else 0
        piece: list[bytes] = []
        holes: list[Run] = []
        for sequence, line in zip(log.sequences, log.lines, strict=True):
            if size > 0 and size + len(line) > self._max_file_size:
                if piece:
                    self._add(LogWrite(file, start, size - start, head, first, holes), b"".join(piece))
                    piece, holes = [], []
                file = self._segment(agent, sequence)
                size = start = 0
                first = head = sequence
            if sequence > head + 1:
                holes.append((head + 1, sequence - 1))
            piece.append(line)
            size += len(line)
            head = sequence
        self._add(LogWrite(file, start, size - start, head, first, holes), b"".join(piece))
        self._ends.append(_End(tail, file, size, head))

    def _segment(self, agent: str, first: int) -> str:
        return f"{self._names.agent(agent)}/{segment_name(first)}"

    def _documents(self, plan: Plan) -> None:
        for ref, stored in plan.documents.items():
            file = self._names.document(*ref)
            self._versions.append((file, stored.version if stored else 0))
            if stored is None:
                self._add(FileRemoval(file), b"")
                continue
            put = stored.put
            content = format_document(ref.key, stored.version, put.at_us, put.crc, put.body or b"")
            self._add(FileWrite(file, len(content), stored.version), content)

    def _add(self, write: Write, content: bytes) -> None:
        self.writes.append(write)
        self.contents.append(content)
