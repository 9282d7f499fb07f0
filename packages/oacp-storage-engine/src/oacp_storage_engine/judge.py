"""The one judgement over units: who is applied, who conflicts, and what there is to write.

A backend loads, under its locks, what ``wanted`` asks for into a ``Snapshot``, calls ``judge``, and writes
the ``Plan``. Both functions are pure; stores that cannot run Python (Redis) mirror them in their language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from oacp_storage_core.payload import same_payload
from oacp_storage_engine.primitives import (
    Append,
    Applied,
    Conflict,
    DocKind,
    Duplicate,
    Outcome,
    Put,
    Unit,
)

_new_tuple = tuple.__new__  # makes a named tuple in half the time of its own constructor


class DocRef(NamedTuple):
    """A document's address within a namespace."""

    agent: str | None
    kind: DocKind
    key: str


class Known(NamedTuple):
    """An interaction that exists: its place and its canonical bytes."""

    sequence: int
    body: bytes


class Row(NamedTuple):
    """An interaction to write."""

    agent: str
    sequence: int
    append: Append


class Stored(NamedTuple):
    """A document to write, at this version."""

    version: int
    put: Put


class Wanted(NamedTuple):
    """What ``judge`` needs to know of the store: heads of agents, given ids, versions of documents.

    Each in the order of first use, without repetition; lock the agents in one order, for example sorted.
    """

    agents: list[str]
    ids: list[tuple[str, str]]
    documents: list[DocRef]


@dataclass(slots=True)
class Snapshot:
    """The store as it is before the group; ``judge`` keeps it current from unit to unit.

    What is absent does not exist: a head is then 0 (also after ``erase`` the last sequence ever counts).
    """

    heads: dict[str, int] = field(default_factory=dict)
    records: dict[tuple[str, str], Known] = field(default_factory=dict)
    versions: dict[DocRef, int] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """What to write so that the outcomes are true, all of it in one atomic step.

    ``heads`` holds the new last sequence of every agent that anything was written to, so its keys are also
    the agents to list. ``documents`` holds the last state of each: to store, or None to delete.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    documents: dict[DocRef, Stored | None] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)


def wanted(units: Sequence[Unit]) -> Wanted:
    """What must be loaded to judge these units."""
    agents: dict[str, None] = {}
    ids: dict[tuple[str, str], None] = {}
    documents: dict[DocRef, None] = {}
    for agent, appends, puts, _ in units:
        if agent is not None:
            agents[agent] = None
            for append in appends:
                if append.given:
                    ids[agent, append.id] = None
        for put in puts:
            documents[_new_tuple(DocRef, (agent, put.kind, put.key))] = None
    return Wanted(list(agents), list(ids), list(documents))


def judge(units: Sequence[Unit], snapshot: Snapshot) -> Plan:
    """Judge the units in order, each seeing what those before it wrote. Changes the snapshot."""
    plan = Plan()
    outcomes = plan.outcomes
    for unit in units:
        outcomes.append(_judge_unit(unit, snapshot, plan))
    return plan


def _judge_unit(unit: Unit, snapshot: Snapshot, plan: Plan) -> Outcome:
    agent, appends, puts, _ = unit
    for append in appends:
        if append.given or append.sequence is not None:
            return _judge_given(unit, snapshot, plan)
    # Nearly all that is ever written: generated ids, and sequences by the store. It takes no more than counting.
    if puts and (conflict := _conflict(unit, snapshot)) is not None:
        return conflict
    if not appends or agent is None:
        return Applied((), _write_puts(unit, snapshot, plan))
    head = snapshot.heads.get(agent, 0)
    if len(appends) == 1:
        sequences: tuple[int, ...] = (head + 1,)
        plan.rows.append(_new_tuple(Row, (agent, head + 1, appends[0])))
    else:
        sequences = tuple(range(head + 1, head + 1 + len(appends)))
        plan.rows += [
            _new_tuple(Row, (agent, sequence, append))
            for sequence, append in zip(sequences, appends, strict=True)
        ]
    plan.heads[agent] = snapshot.heads[agent] = sequences[-1]
    versions = _write_puts(unit, snapshot, plan) if puts else ()
    return _new_tuple(Applied, (sequences, versions, (), False))


def _judge_given(unit: Unit, snapshot: Snapshot, plan: Plan) -> Outcome:
    found = _existing(unit, snapshot)
    if isinstance(found, Duplicate):
        return found
    if unit.turn and found:
        if len(found) == len(unit.appends):
            sequences = tuple(found[i] for i in range(len(unit.appends)))
            return Applied(sequences, (), tuple(found), replayed=True)
        first = min(found)
        return Duplicate(first, found[first])
    head = snapshot.heads.get(unit.agent, 0) if unit.agent is not None else 0
    sequences_or_fault = _sequences(unit, found, head)
    if isinstance(sequences_or_fault, Duplicate):
        return sequences_or_fault
    if (conflict := _conflict(unit, snapshot)) is not None:
        return conflict
    _write_appends(unit, found, sequences_or_fault, snapshot, plan)
    return Applied(tuple(sequences_or_fault), _write_puts(unit, snapshot, plan), tuple(found))


def _conflict(unit: Unit, snapshot: Snapshot) -> Conflict | None:
    """The first put whose expected version is not the present one."""
    for i, put in enumerate(unit.puts):
        if put.expected is not None:
            actual = snapshot.versions.get(DocRef(unit.agent, put.kind, put.key), 0)
            if put.expected != actual:
                return Conflict(i, actual)
    return None


def _existing(unit: Unit, snapshot: Snapshot) -> dict[int, int] | Duplicate:
    """Which appends exist already, index to sequence; an id given twice in the unit maps to 0."""
    found: dict[int, int] = {}
    if unit.agent is None:
        return found
    first: dict[str, Append] = {}
    for i, append in enumerate(unit.appends):
        if not append.given:
            continue
        known = snapshot.records.get((unit.agent, append.id))
        twin = first.setdefault(append.id, append)
        if known is not None:
            moved = append.sequence is not None and append.sequence != known.sequence
            if moved or not same_payload(append.body, known.body):
                return Duplicate(i, known.sequence)
            found[i] = known.sequence
        elif twin is not append:
            if unit.turn or append.sequence != twin.sequence or not same_payload(append.body, twin.body):
                return Duplicate(i, 0)
            found[i] = 0
    return found


def _sequences(unit: Unit, found: dict[int, int], head: int) -> list[int] | Duplicate:
    """The sequence of every append; existing ones keep theirs, new ones go on after the head."""
    sequences: list[int] = []
    assigned: dict[str, int] = {}
    for i, append in enumerate(unit.appends):
        if i in found:
            sequences.append(found[i] or assigned[append.id])
            continue
        if append.sequence is not None and append.sequence <= head:
            return Duplicate(i, 0)
        head = head + 1 if append.sequence is None else append.sequence
        sequences.append(head)
        if append.given:
            assigned[append.id] = head
    return sequences


def _write_appends(
    unit: Unit, found: dict[int, int], sequences: list[int], snapshot: Snapshot, plan: Plan
) -> None:
    if unit.agent is None:
        return
    for i, (append, sequence) in enumerate(zip(unit.appends, sequences, strict=True)):
        if i in found:
            continue
        plan.rows.append(Row(unit.agent, sequence, append))
        plan.heads[unit.agent] = snapshot.heads[unit.agent] = sequence
        if append.given:
            snapshot.records[unit.agent, append.id] = Known(sequence, append.body)


def _write_puts(unit: Unit, snapshot: Snapshot, plan: Plan) -> tuple[int, ...]:
    return tuple([_write_put(unit.agent, put, snapshot, plan) for put in unit.puts])


def _write_put(agent: str | None, put: Put, snapshot: Snapshot, plan: Plan) -> int:
    ref = _new_tuple(DocRef, (agent, put.kind, put.key))
    actual = snapshot.versions.get(ref, 0)
    if put.body is None:
        if not actual:
            return 0
        del snapshot.versions[ref]
        plan.documents[ref] = None
        version = actual
    else:
        version = actual + 1 if put.version is None else put.version
        snapshot.versions[ref] = version
        plan.documents[ref] = _new_tuple(Stored, (version, put))
    if agent is not None:
        plan.heads.setdefault(agent, snapshot.heads.get(agent, 0))
    return version
