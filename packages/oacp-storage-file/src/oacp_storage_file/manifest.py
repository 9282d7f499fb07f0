"""Manifests: what an agent's directory must hold, so that a file that somebody deletes is missed.

``agent.json`` has the last sequence and the runs of sequences that are in the log, ``documents.json`` the documents
and their versions. Both are brought up to date when a checkpoint closes a journal, from what the journal says was
written. In between they are behind, and never wrong: of a log, what a manifest names is there unless something is
amiss; of documents, unless the journal says that they were removed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial

import msgspec

from oacp_storage_file.disk import Disk, read_file
from oacp_storage_file.layout import DOCUMENTS_FILE, LEARNING, STATE_FILE, SYSTEM, Layout
from oacp_storage_file.parallel import do_all
from oacp_storage_file.runs import Run

_MOST_RUNS = 1_000
_LISTS_KEPT = 64
_RACY_NS = 50_000_000  # a file changed this recently may change again with the same time


class AgentFile(msgspec.Struct, omit_defaults=True):
    """``agent.json``, and (with nothing but ``last_sequence``) what remains of an erased agent.

    ``agent_id`` stands there only where the directory's name does not tell it. ``present`` are the runs that the log
    has; of a log with very many holes only the newest are kept.
    """

    last_sequence: int
    agent_id: str | None = None
    present: list[Run] = msgspec.field(default_factory=list)


class DocumentsFile(msgspec.Struct):
    """``documents.json``: versions of documents by their files, relative to the directory."""

    documents: dict[str, int]


_decode_agent_file = msgspec.json.Decoder(AgentFile).decode
_decode_documents_file = msgspec.json.Decoder(DocumentsFile).decode


def read_agent_file(path: str) -> AgentFile | None:
    """The content of such a file, None where there is none or it is damaged."""
    try:
        return _decode_agent_file(read_file(path))
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def format_manifest(content: AgentFile | DocumentsFile) -> bytes:
    """The content of such a file, for people too."""
    if isinstance(content, AgentFile):
        content.present = content.present[-_MOST_RUNS:]
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def replace_manifests(disk: Disk, contents: Mapping[str, AgentFile | DocumentsFile], temporary: str) -> None:
    """Write such files, by path, durably but for their names, for which the directories are to be synced.

    ``temporary`` is how their first names begin.
    """
    names = {path: f"{temporary}-{n}" for n, path in enumerate(contents)}
    do_all([partial(_write, disk, names[path], content) for path, content in contents.items()])
    for path, name in names.items():
        disk.rename(name, path)


def _write(disk: Disk, path: str, content: AgentFile | DocumentsFile) -> None:
    fd = disk.open(path, create=True)
    try:
        disk.truncate(fd, 0)
        disk.write(fd, format_manifest(content), 0)
        disk.sync(fd)
    finally:
        disk.close(fd)


def listed_at(file: str) -> tuple[str, str] | None:
    """The manifest that lists a document's file, and its name there; None for files that are no document's."""
    directory, _, name = file.rpartition("/")
    parent, _, last = directory.rpartition("/")
    if last in (LEARNING, SYSTEM):
        return f"{parent}/{DOCUMENTS_FILE}", f"{last}/{name}"
    return (f"{directory}/{DOCUMENTS_FILE}", name) if name == STATE_FILE else None


class Lists:
    """The lists of documents of a store, kept in memory while they do not change. For use by any thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, tuple[tuple[int, int], dict[str, int]]] = OrderedDict()

    def version(self, file: str) -> int:
        """The version of a document as it is listed, 0 where it is not."""
        place = listed_at(file)
        return self.read(place[0]).get(place[1], 0) if place is not None else 0

    def read(self, file: str) -> Mapping[str, int]:
        """The list in a file; the same object as long as that does not change. Empty where there is none."""
        with self._guard:
            path = self._layout.absolute(file)
            try:
                stat = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            stamp = (stat.st_ino, stat.st_mtime_ns)
            kept = self._kept.get(file)
            if kept is not None and kept[0] == stamp:
                self._kept.move_to_end(file)
                return kept[1]
            listed = read_documents_file(path) or {}
            if time.time_ns() - stat.st_mtime_ns > _RACY_NS:
                if len(self._kept) >= _LISTS_KEPT:
                    self._kept.popitem(last=False)
                self._kept[file] = (stamp, listed)
            return listed


def read_documents_file(path: str) -> dict[str, int] | None:
    """The versions in such a file by name, None where there is none or it is damaged."""
    try:
        return _decode_documents_file(read_file(path)).documents
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
