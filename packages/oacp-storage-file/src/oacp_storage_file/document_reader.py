"""Reading documents, and missing those that must be there.

A document that is listed in its manifest and has no file was removed by somebody, or properly since the last
checkpoint. Only who holds the commit lock can tell: without it, ``NotQuietError`` sends the reader there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from oacp_storage_engine import Doc, DocKind
from oacp_storage_file.documents import read_document
from oacp_storage_file.layout import DOCUMENTS_FILE, LEARNING, Layout, NamespaceLayout
from oacp_storage_file.listing import Listings, select
from oacp_storage_file.manifest import Lists
from oacp_storage_file.naming import Kind, decode
from oacp_storage_file.optimistic import NotQuietError

_MOST_KEPT = 64


class _Absent(NamedTuple):
    """What is listed and has no file, for as long as list and directory are the same objects."""

    names: list[str]
    listed: Mapping[str, int]
    keys: dict[str, str]  # by file
    hashed: list[str]


class DocumentReader:
    """The documents of one namespace. ``removed`` is None without the lock, else what was removed properly."""

    def __init__(self, layout: Layout, names: NamespaceLayout, lists: Lists) -> None:
        self._layout = layout
        self._names = names
        self._lists = lists
        self._listings = Listings()
        self._absent: dict[str, _Absent] = {}

    def read(
        self, agent: str | None, kind: DocKind, keys: Sequence[str], removed: AbstractSet[str] | None
    ) -> list[Doc | None]:
        """One document or None per key."""
        return [self._one(self._names.document(agent, kind, key), key, removed) for key in keys]

    def scan(
        self,
        agent: str | None,
        *,
        prefix: str,
        after: str | None,
        limit: int,
        removed: AbstractSet[str] | None,
    ) -> list[Doc]:
        """The documents of an agent or of the system by key, the missing ones too."""
        directory = self._directory(agent)
        absent = self._absent_in(agent, directory)
        names = absent.names
        if missed := {key for file, key in absent.keys.items() if _is_missed(file, removed)}:
            names = sorted({*names, *missed})
        kind = DocKind.SYSTEM if agent is None else DocKind.LEARNING
        found = self.read(agent, kind, select(names, prefix=prefix, after=after, limit=limit), removed)
        return [doc for doc in found if doc is not None]

    def unnamed(self, agent: str | None, removed: AbstractSet[str] | None) -> list[str]:
        """The files of missing documents whose names do not tell the key."""
        hashed = self._absent_in(agent, self._directory(agent)).hashed
        return [self._layout.absolute(file) for file in hashed if _is_missed(file, removed)]

    def _one(self, file: str, key: str, removed: AbstractSet[str] | None) -> Doc | None:
        path = self._layout.absolute(file)
        doc = read_document(path, key)
        if doc is not None or not (version := self._lists.version(file)) or not _is_missed(file, removed):
            return doc
        reason = (
            f"its file {path} was removed by something else than oacp-storage; it may be put back, or deleted"
        )
        return Doc(key, version, 0, b"", 0, reason)

    def _directory(self, agent: str | None) -> str:
        return self._names.system if agent is None else f"{self._names.agent(agent)}/{LEARNING}"

    def _absent_in(self, agent: str | None, directory: str) -> _Absent:
        names = self._listings.names(self._layout.absolute(directory), Kind.KEY, ".json", _key_in)
        parent, _, below = directory.rpartition("/")
        listed = self._lists.read(f"{parent}/{DOCUMENTS_FILE}")
        kept = self._absent.get(directory)
        if kept is not None and kept.names is names and kept.listed is listed:
            return kept
        there = {self._file(agent, name) for name in names}
        files = [f"{parent}/{name}" for name in listed if name.startswith(f"{below}/")]
        keys: dict[str, str] = {}
        hashed: list[str] = []
        for file in files:
            if file not in there:
                key = decode(Kind.KEY, file.rpartition("/")[2].removesuffix(".json"))
                if key is None:
                    hashed.append(file)
                else:
                    keys[file] = key
        found = _Absent(names, listed, keys, hashed)
        if len(self._absent) >= _MOST_KEPT:
            self._absent.clear()
        self._absent[directory] = found
        return found

    def _file(self, agent: str | None, key: str) -> str:
        return self._names.document(agent, DocKind.SYSTEM if agent is None else DocKind.LEARNING, key)


def _is_missed(file: str, removed: AbstractSet[str] | None) -> bool:
    if removed is None:
        raise NotQuietError
    return file not in removed


def _key_in(path: str) -> str | None:
    doc = read_document(path, None)
    return doc.key if doc is not None and doc.damage is None else None
