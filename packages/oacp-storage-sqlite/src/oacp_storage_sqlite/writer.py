"""The writer: judges groups of units and writes what is to be written, in one transaction each."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from oacp_storage_engine import (
    DocRef,
    Known,
    Outcome,
    Plan,
    Snapshot,
    Stored,
    Unit,
    Wanted,
    judge,
    wanted,
)
from oacp_storage_sqlite import sql
from oacp_storage_sqlite.seal import seal

_REMEMBERED = 50_000
"""Agents and documents whose place is remembered between commits; about 10 MB at most."""


_LARGE = 256 * 1024


class Place(NamedTuple):
    """An agent as the store has it: what tables call it, and its last sequence."""

    ref: int
    head: int


class Found(NamedTuple):
    """A document as the store has it: where its row is, and its version."""

    position: int
    version: int


class Writer:
    """Commits for one namespace; used in the writer's thread, within transactions of ``transaction.py``.

    It remembers the agents and documents that it has met, so that writing to them reads nothing; ``forget`` is to
    be called when somebody else has written, or a transaction was rolled back.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._agents: dict[str, Place] = {}
        self._documents: dict[DocRef, Found] = {}

    def forget(self) -> None:
        """What was remembered of the store may be wrong by now."""
        self._agents.clear()
        self._documents.clear()

    def commit(self, connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
        """Judge and apply the units, in order."""
        if len(self._agents) + len(self._documents) > _REMEMBERED:
            self.forget()
        asked = wanted(units)
        plan = judge(units, self._load(connection, asked))
        if plan.heads:
            self._write_agents(connection, plan)
        if plan.documents:
            self._write_documents(connection, plan.documents)
        return plan.outcomes

    def find_agent(self, connection: sqlite3.Connection, agent: str) -> Place | None:
        """The agent's place, None when there is no such agent."""
        place = self._agents.get(agent)
        if place is None:
            row = connection.execute(sql.AGENT, (self._namespace, agent)).fetchone()
            if row is None:
                return None
            place = self._agents[agent] = Place(*row)
        return place

    def _load(self, connection: sqlite3.Connection, asked: Wanted) -> Snapshot:
        snapshot = Snapshot()
        heads = snapshot.heads
        refs: dict[str, int] = {}
        for agent in asked.agents:
            place = self.find_agent(connection, agent)
            if place is not None:
                heads[agent] = place.head
                refs[agent] = place.ref
            elif (tombstone := self._tombstone(connection, agent)) is not None:
                heads[agent] = tombstone
        for agent, interaction_id in asked.ids:
            if agent in refs:
                row = connection.execute(sql.KNOWN, (interaction_id, refs[agent])).fetchone()
                if row is not None:
                    snapshot.records[agent, interaction_id] = Known(row[0], row[1])
        for ref in asked.documents:
            found = self._find_document(connection, ref, refs)
            if found is not None:
                snapshot.versions[ref] = found.version
        return snapshot

    def _tombstone(self, connection: sqlite3.Connection, agent: str) -> int | None:
        row = connection.execute(sql.TOMBSTONE, (name_hash(self._namespace, agent),)).fetchone()
        return None if row is None else int(row[0])

    def _find_document(
        self, connection: sqlite3.Connection, ref: DocRef, refs: dict[str, int]
    ) -> Found | None:
        found = self._documents.get(ref)
        if found is not None:
            return found
        if ref.agent is None:
            row = connection.execute(sql.FIND_SYSTEM, (self._namespace, ref.key)).fetchone()
        elif ref.agent in refs:
            row = connection.execute(sql.FIND_DOCUMENT, (refs[ref.agent], ref.kind.value, ref.key)).fetchone()
        else:
            return None
        if row is not None:
            found = self._documents[ref] = Found(*row)
        return found

    def _write_agents(self, connection: sqlite3.Connection, plan: Plan) -> None:
        """New heads and new agents, then the rows."""
        agents = self._agents
        moved: list[tuple[int, int]] = []
        for agent, head in plan.heads.items():
            place = self.find_agent(connection, agent)
            if place is None:
                agents[agent] = Place(self._add_agent(connection, agent, head), head)
            elif place.head != head:
                agents[agent] = Place(place.ref, head)
                moved.append((head, place.ref))
        if moved:
            connection.executemany(sql.SET_HEAD, moved)
        if plan.rows:
            refs = {agent: agents[agent].ref for agent in plan.heads}
            connection.executemany(
                sql.APPEND,
                [
                    (refs[agent], sequence, name, at_us, seal(crc, sequence), body)
                    for agent, sequence, (name, _, at_us, body, crc, _) in plan.rows
                ],
            )
            _let_go(connection, sql.APPEND, plan.rows[-1].append.body)

    def _add_agent(self, connection: sqlite3.Connection, agent: str, head: int) -> int:
        connection.execute(sql.REMOVE_TOMBSTONE, (name_hash(self._namespace, agent),))
        return _added(connection, sql.ADD_AGENT, (self._namespace, agent, head))

    def _write_documents(
        self, connection: sqlite3.Connection, documents: dict[DocRef, Stored | None]
    ) -> None:
        """What ``_load`` found is changed in its row, without searching it again."""
        known = self._documents
        changed: dict[str, list[tuple[object, ...]]] = {sql.CHANGE_DOCUMENT: [], sql.CHANGE_SYSTEM: []}
        last: dict[str, bytes | None] = {}
        for ref, stored in documents.items():
            found = known.pop(ref, None)
            if stored is None:
                if found is not None:
                    remove = sql.DELETE_SYSTEM if ref.agent is None else sql.DELETE_DOCUMENT
                    connection.execute(remove, (found.position,))
                continue
            _, _, body, at_us, crc, _, _ = stored.put
            content = (stored.version, at_us, crc, body)
            if found is not None:
                position = found.position
                change = sql.CHANGE_SYSTEM if ref.agent is None else sql.CHANGE_DOCUMENT
                changed[change].append((*content, position))
                last[change] = body
            elif ref.agent is None:
                position = _added(connection, sql.ADD_SYSTEM, (self._namespace, ref.key, *content))
                _let_go(connection, sql.ADD_SYSTEM, body)
            else:
                place = (self._agents[ref.agent].ref, ref.kind.value, ref.key)
                position = _added(connection, sql.ADD_DOCUMENT, (*place, *content))
                _let_go(connection, sql.ADD_DOCUMENT, body)
            known[ref] = Found(position, stored.version)
        for change, rows in changed.items():
            if rows:
                connection.executemany(change, rows)
                _let_go(connection, change, last[change])


def _added(connection: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> int:
    """Insert the row and return where it is."""
    return connection.execute(statement, values).lastrowid or 0


def _let_go(connection: sqlite3.Connection, statement: str, last: bytes | None) -> None:
    """Take a large ``last`` body from the statement, which would keep a copy until it is used again."""
    if last is not None and len(last) > _LARGE:
        with suppress(sqlite3.IntegrityError):  # no row is made of NULLs only, nor changed
            connection.execute(statement, (None,) * statement.count("?"))


def name_hash(namespace: str, agent: str) -> bytes:
    """What remains of a deleted agent's name."""
    return hashlib.sha256(f"{namespace}\0{agent}".encode()).digest()
