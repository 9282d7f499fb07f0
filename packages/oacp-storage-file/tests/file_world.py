"""A store driven without an event loop: units in, outcomes out, and everything in it at a glance.

Faults are injected through the ``Disk``; what a store holds is always read through a disk without faults.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from file_faults import UnsyncedDisk
from oacp_storage_core import RetentionPick
from oacp_storage_core.payload import encode
from oacp_storage_engine import Append, DocKind, Outcome, Put, Unit, document_crc, interaction_crc
from oacp_storage_file.backups import take_backup
from oacp_storage_file.commit import Committer
from oacp_storage_file.disk import Disk
from oacp_storage_file.documents import read_document
from oacp_storage_file.erasure import Trash, abandoned, hide
from oacp_storage_file.layout import LEARNING, Layout, NamespaceLayout
from oacp_storage_file.lines import is_intact
from oacp_storage_file.log_reader import read_page
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import Lists
from oacp_storage_file.naming import Kind, decode
from oacp_storage_file.retention import Retention, count_cut, plan_cut
from oacp_storage_file.store import Store

AT = 1_700_000_000_000_000


def append(agent: str, one: str, data: dict[str, Any], *, given: bool = False, at_us: int = AT) -> Append:
    body, _ = encode(data)
    return Append(one, given, at_us, body, interaction_crc(agent, one, at_us, body))


def put(agent: str | None, kind: DocKind, key: str, data: dict[str, Any] | None, **conditions: int) -> Put:
    if data is None:
        return Put(kind, key, None, 0, 0, **conditions)
    body, _ = encode(data)
    return Put(kind, key, body, AT, document_crc(kind, agent, key, AT, body), **conditions)


def said(agent: str, *ids: str, size: int = 40, given: bool = False) -> Unit:
    """Interactions of an agent, one for each id."""
    return Unit(agent, tuple(append(agent, one, {"id": one, "text": "x" * size}, given=given) for one in ids))


class World:
    """One process's store in a directory, with one namespace."""

    def __init__(self, root: Path, disk: Disk | None = None, *, max_file_size: int = 10**8) -> None:
        self.layout = Layout(str(root))
        self.names = NamespaceLayout("default")
        self.store = Store.open(self.layout, disk or UnsyncedDisk())
        self.committer = Committer(self.store, self.names, Lists(self.layout), max_file_size)
        self.trash: Trash | None = None

    def commit(self, *units: Unit) -> list[Outcome]:
        return self.committer.commit(units)

    def trim(self, agent: str, **criteria: int) -> int:
        pick = RetentionPick(None, criteria.get("before_us"), criteria.get("keep_last"))
        with LogView(self.layout, self.names, agent) as view:
            cut = plan_cut(view, pick, None)
            counts = count_cut(view, cut)
        retention = Retention(self.store, self.names)
        return sum(retention.cut_segment(agent, first, cut) for first, _ in counts)

    def erase(self, agent: str) -> None:
        self.trash = hide(self.store, self.names, agent)
        if self.trash is not None:
            self.trash.remove(self.store.disk, 10**9)

    def checkpoint(self) -> None:
        with self.store.locked():
            self.store.checkpoint()

    def backup(self) -> str | None:
        return take_backup(self.store, 1)

    def empty_trash(self) -> None:
        for trash in abandoned(self.store):
            trash.remove(self.store.disk, 10**9)

    def close(self) -> None:
        self.committer.close()
        self.store.close()

    def die(self) -> None:
        """End as a killed process does: whatever is locked is free, nothing is finished."""
        self.committer.close()
        self.store.abandon()
        if self.trash is not None:
            self.trash.release()


Contents = dict[str, Any]


def contents(root: Path) -> Contents:
    """Everything in a store that nobody has open: logs, documents and heads, by agent."""
    names = NamespaceLayout("default")
    layout = Layout(str(root))
    found: Contents = {}
    agents = root / "namespaces" / names.agents
    for directory in sorted(agents.iterdir()) if agents.exists() else ():
        agent = decode(Kind.AGENT, directory.name)
        assert agent is not None, directory
        with LogView(layout, names, agent) as view:
            found[agent] = {"head": view.head, "log": _log(view), "documents": _documents(directory, agent)}
    system = _documents(root / "namespaces" / names.system, None)
    return {"agents": found, "system": system}


def _log(view: LogView) -> list[tuple[int, str]]:
    page = read_page(view, 0, None, reverse=False, limit=10**6, max_bytes=10**9)
    backwards = read_page(view, 0, None, reverse=True, limit=10**6, max_bytes=10**9)
    assert page.records == backwards.records[::-1]
    assert page.next is None
    for record in page.records:
        assert record.damage is None, record
        assert is_intact(view.agent, record), record
    return [(record.sequence, record.id) for record in page.records]


def _documents(directory: Path, agent: str | None) -> dict[str, tuple[int, Any]]:
    found: dict[str, tuple[int, Any]] = {}
    learning = directory / LEARNING
    paths = [*directory.glob("state.json"), *directory.glob("k-*.json"), *learning.glob("*.json")]
    for path in sorted(paths):
        doc = read_document(str(path), None)
        assert doc is not None
        assert doc.damage is None, doc
        kind = DocKind.SYSTEM if agent is None else DocKind.LEARNING if doc.key else DocKind.STATE
        assert document_crc(kind, agent, doc.key, doc.at_us, doc.body) == doc.crc, path
        found[doc.key] = (doc.version, json.loads(doc.body))
    return found


def ids_of(contents_: Contents, agent: str) -> list[str]:
    return [one for _, one in contents_["agents"].get(agent, {"log": []})["log"]]


def sequences_of(outcomes: Sequence[Outcome]) -> list[int]:
    return [sequence for outcome in outcomes for sequence in getattr(outcome, "sequences", ())]
