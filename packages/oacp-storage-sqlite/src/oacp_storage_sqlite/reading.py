"""Reading: what the engine's reads do on a connection, each within one view of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from oacp_storage_core import CorruptDataError
from oacp_storage_engine import Doc, DocKind, Hint, Page, Record
from oacp_storage_sqlite import sql
from oacp_storage_sqlite.faults import described, is_damage
from oacp_storage_sqlite.pushdown import filter_of
from oacp_storage_sqlite.retention import MAX_INTEGER
from oacp_storage_sqlite.seal import unseal
from oacp_storage_sqlite.writer import Place

T = TypeVar("T")

_WINDOW = 20_000
"""How many records a filter looks at in one page; a page of a long log may so be empty and have a next."""

_NO_TEXT = "it cannot be read: its columns are not of the types that were stored"


def in_one_view(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    """``work()`` in a read transaction, so that all its statements see the same store."""
    if connection.in_transaction:  # an interrupted job could not even roll back
        connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    try:
        return work()
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class Reader:
    """The reads of one namespace; the connection's thread calls them."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def place(self, connection: sqlite3.Connection, agent: str) -> Place | None:
        """The agent's reference and head, None when there is no such agent."""
        row = connection.execute(sql.AGENT, (self._namespace, agent)).fetchone()
        return None if row is None else Place(*row)

    def log(
        self,
        connection: sqlite3.Connection,
        agent: str,
        low: int,
        high: int | None,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None,
    ) -> Page:
        """See ``Engine.read_log``."""
        place = self.place(connection, agent)
        if place is None:
            return Page([], 0)
        high = place.head + 1 if high is None else min(high, place.head + 1)
        if limit <= 0 or low + 1 >= high:
            return Page([], place.head)
        span = _Span(place, low, high, reverse)
        edge = None if hint is None else span.window_edge(connection)
        if edge is not None:
            span = span.up_to(edge)
        try:
            records, cut = span.read(connection, self._namespace, agent, limit, max_bytes, hint)
        except sqlite3.DatabaseError as exc:
            if not is_damage(exc):
                raise
            records, cut = span.read_one_by_one(connection, limit, max_bytes, exc)
        if cut:
            last = records[-1].sequence
            return Page(records, place.head, None if span.ends_with(last) and edge is None else last)
        return Page(records, place.head, edge)

    def find(self, connection: sqlite3.Connection, agent: str, ids: Sequence[str]) -> list[Record]:
        """See ``Engine.find``."""
        place = self.place(connection, agent)
        if place is None:
            return []
        records = []
        for interaction_id in ids:
            key = (interaction_id, place.ref)
            try:
                row = connection.execute(sql.FIND, key).fetchone()
            except sqlite3.DatabaseError as exc:
                if not is_damage(exc):
                    raise
                row = (0, interaction_id.encode(), None, None, None)
            if row is not None:
                records.append(_record(row))
        return records

    def count(
        self, connection: sqlite3.Connection, agent: str, low: int, high: int | None, hint: Hint | None
    ) -> int:
        """See ``Engine.count``."""
        place = self.place(connection, agent)
        if place is None or low >= place.head:
            return 0
        high = place.head + 1 if high is None else min(high, place.head + 1)
        where = "agent = ? AND sequence > ? AND sequence < ?"
        values = [place.ref, low, high]
        if hint is not None:
            for bound, condition in ((hint.since_us, "at_us >= ?"), (hint.until_us, "at_us < ?")):
                if bound is not None:
                    where += f" AND {condition}"
                    values.append(bound)
        counted: int = connection.execute(sql.COUNT + where, values).fetchone()[0]
        return counted

    def documents(
        self, connection: sqlite3.Connection, agent: str | None, kind: DocKind, keys: Sequence[str]
    ) -> list[Doc | None]:
        """See ``Engine.read_docs``."""
        scope = self._scope(connection, agent, kind)
        if scope is None:
            return [None] * len(keys)
        statement = sql.SYSTEM if agent is None else sql.DOCUMENT
        return [_read_document(connection, statement, scope, key) for key in keys]

    def scan_documents(
        self,
        connection: sqlite3.Connection,
        agent: str | None,
        kind: DocKind,
        prefix: str,
        after: str | None,
        limit: int,
    ) -> list[Doc]:
        """See ``Engine.scan_docs``."""
        scope = self._scope(connection, agent, kind)
        if scope is None:
            return []
        scan, one = (sql.SYSTEMS, sql.SYSTEM) if agent is None else (sql.DOCUMENTS, sql.DOCUMENT)
        above, start = _start(prefix, after)
        values = (*scope, start, min(limit, MAX_INTEGER))
        try:
            rows = connection.execute(scan.format(columns=sql.DOCUMENT_COLUMNS, above=above), values)
            docs = [_document(row, None) for row in rows]
        except sqlite3.DatabaseError as exc:
            if not is_damage(exc):
                raise
            found = connection.execute(scan.format(columns="key", above=above), values).fetchall()
            keys = [_text(row[0]) for row in found]
            read = [_read_document(connection, one, scope, key) for key in keys]
            docs = [doc for doc in read if doc is not None]
        return _leading(docs, prefix, lambda doc: doc.key)

    def agents(self, connection: sqlite3.Connection, prefix: str, after: str | None, limit: int) -> list[str]:
        """See ``Engine.scan_agents``."""
        above, start = _start(prefix, after)
        values = (self._namespace, start, min(limit, MAX_INTEGER))
        rows = connection.execute(sql.AGENTS.format(above=above), values)
        return _leading([_text(row[0]) for row in rows], prefix, lambda name: name)

    def _scope(
        self, connection: sqlite3.Connection, agent: str | None, kind: DocKind
    ) -> tuple[object, ...] | None:
        """What comes before the key in the index of the documents, None when there can be none."""
        if agent is None:
            return (self._namespace,)
        place = self.place(connection, agent)
        return None if place is None else (place.ref, kind.value)


class _Span:
    """A stretch of one agent's log, in reading order: low < sequence < high."""

    def __init__(self, place: Place, low: int, high: int, reverse: bool) -> None:
        self._place = place
        self._low = low
        self._high = high
        self._reverse = reverse
        self._order = "DESC" if reverse else "ASC"
        self._bounds = (place.ref, low, high)

    def window_edge(self, connection: sqlite3.Connection) -> int | None:
        """The sequence of the last record that a filter is to look at, None when it may look at all."""
        statement = sql.NTH_SEQUENCE.format(order=self._order)
        row = connection.execute(statement, (*self._bounds, _WINDOW - 1)).fetchone()
        return None if row is None or self.ends_with(row[0]) else int(row[0])

    def up_to(self, edge: int) -> _Span:
        """The part that ends with this sequence."""
        if self._reverse:
            return _Span(self._place, edge - 1, self._high, True)
        return _Span(self._place, self._low, edge + 1, False)

    def ends_with(self, sequence: int) -> bool:
        """Whether surely nothing follows this sequence."""
        return sequence == (self._low + 1 if self._reverse else self._high - 1)

    def read(
        self,
        connection: sqlite3.Connection,
        namespace: str,
        agent: str,
        limit: int,
        max_bytes: int,
        hint: Hint | None,
    ) -> tuple[list[Record], bool]:
        """The records that the hint does not rule out, and whether limit or size ended the reading."""
        condition, values = filter_of(hint, agent)
        statement = sql.LOG.format(filter=condition, order=self._order)
        records: list[Record] = []
        size = 0
        for row in connection.execute(statement, (*self._bounds, *values, limit)):
            record = _record(row)
            records.append(record)
            size += len(record.body)
            if size >= max_bytes:
                return records, True
        return records, len(records) >= limit

    def read_one_by_one(
        self, connection: sqlite3.Connection, limit: int, max_bytes: int, cause: sqlite3.DatabaseError
    ) -> tuple[list[Record], bool]:
        """As ``read`` where a page of the file is damaged: unreadable records are there, and say so."""
        statement = sql.SEQUENCES.format(order=self._order)
        try:
            sequences = connection.execute(statement, (*self._bounds, limit)).fetchall()
        except sqlite3.DatabaseError as exc:
            raise CorruptDataError(
                f"the log cannot be read between {self._low} and {self._high}: {described(exc)}; restore the "
                "database from a backup, or save what can be read with the sqlite3 command `.recover`"
            ) from cause
        records: list[Record] = []
        size = 0
        for (sequence,) in sequences:
            try:
                row = connection.execute(sql.RECORD_AT, (self._place.ref, sequence)).fetchone()
                record = _unreadable(sequence, "its row is missing") if row is None else _record(row)
            except sqlite3.DatabaseError as exc:
                if not is_damage(exc):
                    raise
                record = _unreadable(sequence, described(exc))
            records.append(record)
            size += len(record.body)
            if size >= max_bytes:
                return records, True
        return records, len(records) >= limit


def _record(row: tuple[object, ...]) -> Record:
    sequence, interaction_id, at_us, crc, body = row
    if (
        type(interaction_id) is bytes
        and type(at_us) is int
        and type(crc) is int
        and type(body) is bytes
        and type(sequence) is int
    ):
        return Record(sequence, _text(interaction_id), at_us, body, unseal(crc, sequence))
    return _unreadable(sequence if type(sequence) is int else 0, _NO_TEXT)


def _unreadable(sequence: int, reason: str) -> Record:
    return Record(sequence, "", 0, b"", 0, reason)


def _read_document(
    connection: sqlite3.Connection, statement: str, scope: tuple[object, ...], key: str
) -> Doc | None:
    try:
        row = connection.execute(statement, (*scope, key)).fetchone()
    except sqlite3.DatabaseError as exc:
        if not is_damage(exc):
            raise
        return Doc(key, 0, 0, b"", 0, described(exc))
    return None if row is None else _document(row, key)


def _document(row: tuple[object, ...], key: str | None) -> Doc:
    """The document of a row. ``key`` is the one asked for, None where the row alone tells it."""
    found, version, at_us, crc, body = row
    name = _text(found) if type(found) is bytes and key is None else key or ""
    if type(version) is int and type(at_us) is int and type(crc) is int and type(body) is bytes:
        return Doc(name, version, at_us, body, crc)
    return Doc(name, 0, 0, b"", 0, _NO_TEXT)


def _text(stored: bytes) -> str:
    """Stored text; damaged text comes back changed, which the checksum then tells."""
    return stored.decode(errors="backslashreplace")


def _start(prefix: str, after: str | None) -> tuple[str, bytes]:
    """Where a listing starts, as comparison and text. UTF-8 sorts as code points do."""
    if after is not None and after >= prefix:
        return ">", after.encode(errors="surrogatepass")
    return ">=", prefix.encode(errors="surrogatepass")


def _leading(found: list[T], prefix: str, name: Callable[[T], str]) -> list[T]:
    """Those of a listing, sorted and beginning at the prefix, that have it."""
    for i, one in enumerate(found):
        if not name(one).startswith(prefix):
            return found[:i]
    return found
