"""The writer: judges groups of units and writes what is to be written, in one transaction each."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
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
"""Agents whose place is remembered between commits; about 10 MB at most."""


class Place(NamedTuple):
    """An agent as the store has it: what tables call it, and its last sequence."""

    ref: int
    head: int


class Writer:
    """Commits for one namespace; used in the writer's thread, within transactions of ``transaction.py``.

    It remembers the agents it has met, so that appending to them reads nothing; ``forget`` is to be called
    when somebody else has written, or a transaction was rolled back.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._agents: dict[str, Place] = {}

    def forget(self) -> None:
        """What was remembered of the store may be wrong by now."""
        self._agents.clear()

    def forget_agent(self, agent: str) -> None:
        """The agent is no more."""
        self._agents.pop(agent, None)

    def commit(self, connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
        """Judge and apply the units, in order."""
        if len(self._agents) > _REMEMBERED:
            self._agents.clear()
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
            version = self._version(connection, ref, refs)
            if version is not None:
                snapshot.versions[ref] = version
        return snapshot

    def _tombstone(self, connection: sqlite3.Connection, agent: str) -> int | None:
        row = connection.execute(sql.TOMBSTONE, (name_hash(self._namespace, agent),)).fetchone()
        return None if row is None else int(row[0])

    def _version(self, connection: sqlite3.Connection, ref: DocRef, refs: dict[str, int]) -> int | None:
        if ref.agent is None:
            row = connection.execute(sql.SYSTEM_VERSION, (self._namespace, ref.key)).fetchone()
        elif ref.agent in refs:
            row = connection.execute(sql.VERSION, (refs[ref.agent], ref.kind.value, ref.key)).fetchone()
        else:
            return None
        return None if row is None else int(row[0])

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

    def _add_agent(self, connection: sqlite3.Connection, agent: str, head: int) -> int:
        connection.execute(sql.REMOVE_TOMBSTONE, (name_hash(self._namespace, agent),))
        return connection.execute(sql.ADD_AGENT, (self._namespace, agent, head)).lastrowid or 0

    def _write_documents(
        self, connection: sqlite3.Connection, documents: dict[DocRef, Stored | None]
    ) -> None:
        for ref, stored in documents.items():
            if ref.agent is None:
                key: tuple[object, ...] = (self._namespace, ref.key)
                put, remove = sql.PUT_SYSTEM, sql.REMOVE_SYSTEM
            else:
                key = (self._agents[ref.agent].ref, ref.kind.value, ref.key)
                put, remove = sql.PUT_DOCUMENT, sql.REMOVE_DOCUMENT
            if stored is None:
                connection.execute(remove, key)
            else:
                new = stored.put
                connection.execute(put, (*key, stored.version, new.at_us, new.crc, new.body))


def name_hash(namespace: str, agent: str) -> bytes:
    """What remains of a deleted agent's name."""
    return hashlib.sha256(f"{namespace}\0{agent}".encode()).digest()
