"""Inventories: manifests made from what was written, or from what is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from oacp_storage_file.disk import Disk
from oacp_storage_file.documents import read_document
from oacp_storage_file.journal_format import FileRemoval, LogWrite, Write
from oacp_storage_file.layout import (
    AGENT_FILE,
    DOCUMENTS_FILE,
    LEARNING,
    STATE_FILE,
    SYSTEM,
    Layout,
    NamespaceLayout,
)
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import (
    AgentFile,
    DocumentsFile,
    listed_at,
    read_agent_file,
    read_documents_file,
    replace_manifests,
)
from oacp_storage_file.naming import Kind, decode, encode, is_hashed
from oacp_storage_file.runs import Run, joined, without
from oacp_storage_file.segment import Segment, intact_record

_LINES = 10_000
_BYTES = 8 * 1024 * 1024


def update_manifests(disk: Disk, layout: Layout, writes: Iterable[Write], temporary: str) -> None:
    """Bring the manifests up to date with what was written; may be repeated with the same writes.

    The directories in which they stand are still to be synced. ``temporary`` is how their first names begin. A
    manifest of an agent that is missing or damaged is left so: what it said of the past is not known any more.
    """
    logs: dict[str, list[LogWrite]] = {}
    documents: dict[str, dict[str, int]] = {}
    for write in writes:
        if isinstance(write, LogWrite):
            logs.setdefault(os.path.dirname(write.file), []).append(write)
        elif (place := listed_at(write.file)) is not None:
            version = 0 if isinstance(write, FileRemoval) else write.version
            documents.setdefault(place[0], {})[place[1]] = version
    changed: dict[str, AgentFile | DocumentsFile] = {}
    for directory, of_agent in logs.items():
        path = layout.absolute(f"{directory}/{AGENT_FILE}")
        kept = read_agent_file(path)
        if kept is not None and _follow(kept, of_agent):
            changed[path] = kept
    for file, written in documents.items():
        path = layout.absolute(file)
        listed = read_documents_file(path)
        there = _documents_in(os.path.dirname(path), written) if listed is None else listed
        now = {name: version for name, version in (there | written).items() if version}
        if now != listed:
            changed[path] = DocumentsFile(now)
    replace_manifests(disk, changed, temporary)


def take_inventory(disk: Disk, layout: Layout, temporary: str) -> list[str]:
    """Make all manifests from what is there; only last sequences are kept. Returns the directories that changed.

    Durable when it returns; nobody else uses the store meanwhile.
    """
    changed: list[str] = []
    for namespace in _entries(layout.namespaces):
        name = decode(Kind.NAMESPACE, namespace)
        if name is None:
            continue
        names = NamespaceLayout(name)
        for entry in _entries(layout.absolute(names.agents)):
            agent = _agent_of(layout.absolute(names.agents), entry)
            if agent is not None and _take_agent(disk, layout, names, agent, temporary):
                changed.append(layout.absolute(names.agent(agent)))
        if _take_documents(disk, layout.absolute(names.root), temporary):
            changed.append(layout.absolute(names.root))
    for directory in changed:
        disk.sync_directory(directory)
    return changed


def _follow(kept: AgentFile, writes: Iterable[LogWrite]) -> bool:
    """Note what was appended; whether anything was that is not noted already."""
    before = kept.last_sequence
    for write in writes:
        if write.head <= kept.last_sequence:
            continue
        if write.first:
            run = (max(write.first, kept.last_sequence + 1), write.head)
            kept.present[-1:] = joined([*kept.present[-1:], *without([run], write.holes)])
        kept.last_sequence = write.head
    return kept.last_sequence > before


def _take_agent(disk: Disk, layout: Layout, names: NamespaceLayout, agent: str, temporary: str) -> bool:
    with LogView(layout, names, agent) as view:
        directory = view.directory
        named = agent if is_hashed(Kind.AGENT, os.path.basename(directory)) else None
        now = AgentFile(
            view.head, named, joined(run for index in _indexes(view) for run in _runs(view, index))
        )
    changed = read_agent_file(f"{directory}/{AGENT_FILE}") != now
    if changed:
        replace_manifests(disk, {f"{directory}/{AGENT_FILE}": now}, temporary)
    return _take_documents(disk, directory, temporary) or changed


def _take_documents(disk: Disk, directory: str, temporary: str) -> bool:
    now = _documents_in(directory, {})
    changed = (read_documents_file(f"{directory}/{DOCUMENTS_FILE}") or {}) != now
    if changed:
        replace_manifests(disk, {f"{directory}/{DOCUMENTS_FILE}": DocumentsFile(now)}, temporary)
    return changed


def _documents_in(directory: str, known: Mapping[str, int]) -> dict[str, int]:
    """The documents in a directory and their versions, which need not be read of those ``known``."""
    found: dict[str, int] = {}
    for below in ("", LEARNING, SYSTEM):
        for entry in _entries(f"{directory}/{below}"):
            name = f"{below}/{entry}" if below else entry
            if not (entry.startswith("k") and entry.endswith(".json") if below else entry == STATE_FILE):
                continue
            if name in known:
                found[name] = known[name]
            elif (doc := read_document(f"{directory}/{name}", None)) is not None:
                found[name] = max(doc.version, 1)  # 0 where it is damaged; but it is there
    return found


def _indexes(view: LogView) -> Iterator[int]:
    for index in range(len(view.firsts)):
        yield index
        view.let_go(index)


def _runs(view: LogView, index: int) -> list[Run]:
    """The runs in one segment. Where the count of its lines says that there are no holes, it is not read."""
    segment = view.segment(index)
    if not segment.size:
        return []
    first = intact_record(segment.agent, segment.lines(0, limit=1, max_bytes=1)[0][0])
    last = intact_record(segment.agent, segment.lines_before(segment.size, limit=1, max_bytes=1)[0][0])
    if first and last and last.sequence - first.sequence + 1 == segment.count_lines():
        return [(first.sequence, last.sequence)]
    return joined((one, one) for one in _sequences(segment))


def _sequences(segment: Segment) -> Iterator[int]:
    """The sequences of the undamaged lines of a segment."""
    offset = 0
    while offset < segment.size:
        lines, offset = segment.lines(offset, limit=_LINES, max_bytes=_BYTES)
        for line in lines:
            record = intact_record(segment.agent, line)
            if record is not None:
                yield record.sequence


def _agent_of(agents: str, entry: str) -> str | None:
    """The agent whose directory this is, None for what is none."""
    if not is_hashed(Kind.AGENT, entry):
        return decode(Kind.AGENT, entry)
    kept = read_agent_file(f"{agents}/{entry}/{AGENT_FILE}")
    agent = kept.agent_id if kept is not None else None
    return agent if agent is not None and encode(Kind.AGENT, agent) == entry else None


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
