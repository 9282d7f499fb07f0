"""Checks: what is wrong in a store that reading every record would not show."""

from __future__ import annotations

import os
from collections.abc import Iterator

from oacp_storage_core import Damage, DataKind
from oacp_storage_file.documents import read_document
from oacp_storage_file.layout import (
    AGENT_FILE,
    DOCUMENTS_FILE,
    IDS_FILE,
    LEARNING,
    STATE_FILE,
    Layout,
    NamespaceLayout,
    segment_first,
)
from oacp_storage_file.log_reader import read_page
from oacp_storage_file.log_view import LogView
from oacp_storage_file.manifest import read_agent_file, read_documents_file
from oacp_storage_file.missing import accept_command
from oacp_storage_file.naming import Kind, decode, encode, is_hashed

_KNOWN = {AGENT_FILE, DOCUMENTS_FILE, STATE_FILE, LEARNING, IDS_FILE, f"{IDS_FILE}-journal"}
_PAGE = 2_000
_PAGE_BYTES = 8 * 1024 * 1024


def check_store(layout: Layout) -> Iterator[Damage]:
    """Damaged journals that were kept."""
    for name in _entries(layout.damaged):
        yield Damage(
            "store",
            f"a part of the journal {name} could not be read when it was recovered, so that commits of that time "
            f"may be missing; the journal is kept in {layout.damaged}: remove it there when it is dealt with",
        )


def check_names(layout: Layout, names: NamespaceLayout) -> Iterator[Damage]:
    """Files and directories of the namespace whose names are none of ours."""
    agents = layout.absolute(names.agents)
    for name in _entries(agents):
        path = f"{agents}/{name}"
        if not os.path.isdir(path):
            yield _foreign(path)
        elif is_hashed(Kind.AGENT, name):
            kept = read_agent_file(f"{path}/{AGENT_FILE}")
            if kept is None or kept.agent_id is None or encode(Kind.AGENT, kept.agent_id) != name:
                yield Damage("store", f"{path}/{AGENT_FILE} does not tell whose log and state these are")
        elif decode(Kind.AGENT, name) is None:
            yield _foreign(path)
    yield from _check_documents(layout.absolute(names.system), None)
    yield from _check_list(layout, layout.absolute(names.root), None)


def check_agent(layout: Layout, names: NamespaceLayout, agent: str) -> Iterator[Damage]:
    """What is in an agent's directory besides its records: foreign files, and lines that are no record's."""
    directory = layout.absolute(names.agent(agent))
    for name in _entries(directory):
        if segment_first(name) is None and name not in _KNOWN:
            yield _foreign(f"{directory}/{name}", agent)
    yield from _check_manifests(layout, directory, agent)
    yield from _check_documents(f"{directory}/{LEARNING}", agent)
    with LogView(layout, names, agent) as view:
        for index, first in enumerate(view.firsts):
            segment = view.segment(index)
            surplus = segment.count_lines() - _records_between(view, first - 1, view.upper(index))
            if surplus > 0:
                yield Damage(
                    "store", f"{segment.path} holds {surplus} lines that are no interaction's", agent
                )
            view.let_go(index)


def _check_manifests(layout: Layout, directory: str, agent: str) -> Iterator[Damage]:
    path = f"{directory}/{AGENT_FILE}"
    if not os.path.isdir(directory):
        return
    if read_agent_file(path) is None:
        what = "cannot be read" if os.path.exists(path) else "was removed"
        yield Damage(
            "store",
            f"{path} {what}, so that missing interactions would not be noticed: put it back, from a backup for "
            f"example, or have it made anew: {accept_command(layout.root)}",
            agent,
        )
    yield from _check_list(layout, directory, agent)


def _check_list(layout: Layout, directory: str, agent: str | None) -> Iterator[Damage]:
    path = f"{directory}/{DOCUMENTS_FILE}"
    if os.path.exists(path) and read_documents_file(path) is None:
        yield Damage(
            "store",
            f"{path} cannot be read: put it back, from a backup for example, or have it made anew: "
            f"{accept_command(layout.root)}",
            agent,
        )


def _records_between(view: LogView, low: int, high: int | None) -> int:
    count = 0
    start: int | None = low
    while start is not None:
        page = read_page(view, start, high, reverse=False, limit=_PAGE, max_bytes=_PAGE_BYTES)
        count += len(page.records)  # of what is missing too; then lines too many are the smaller trouble
        start = page.next
    return count


def _check_documents(directory: str, agent: str | None) -> Iterator[Damage]:
    for name in _entries(directory):
        path = f"{directory}/{name}"
        stem, suffix = os.path.splitext(name)
        if is_hashed(Kind.KEY, stem) and suffix == ".json":
            doc = read_document(path, None)
            if doc is not None and encode(Kind.KEY, doc.key) != stem:
                yield Damage("store", f"{path} does not tell its key", agent)
        elif suffix != ".json" or decode(Kind.KEY, stem) is None:
            yield _foreign(path, agent)


def missing_document(layout: Layout, path: str, agent: str | None) -> Damage:
    """The damage that a document's file, whose name does not tell the key, is not there any more."""
    kind: DataKind = "system_state" if agent is None else "learning_data"
    reason = (
        f"{path} was removed by something else than oacp-storage: put it back, from a backup for example, or accept "
        f"the loss: {accept_command(layout.root)}"
    )
    return Damage(kind, reason, agent)


def _foreign(path: str, agent: str | None = None) -> Damage:
    return Damage("store", f"{path} does not belong there: move it elsewhere", agent)


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
