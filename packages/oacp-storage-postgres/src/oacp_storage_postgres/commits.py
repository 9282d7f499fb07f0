"""Commits: groups of units as the arrays that the functions of the schema take, and outcomes from what they return."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from oacp_storage_core.payload import same_payload
from oacp_storage_engine import Append, Applied, Conflict, DocRef, Duplicate, Outcome, Unit

_WRITTEN = 0  # what write_group returns: see sql/write_group.sql
_JUDGED = 1  # what commit_group returns: see sql/commit_group.sql


def numbers_of(text: str | None) -> list[int]:
    """The numbers of an array as PostgreSQL writes it, ``{1,2}``; none for NULL."""
    return [int(number) for number in text[1:-1].split(",")] if text else []


def _array(numbers: Iterable[int | None]) -> str:
    """Numbers (booleans too) as PostgreSQL reads an array."""
    return "{" + ",".join(["NULL" if number is None else str(number) for number in numbers]) + "}"


def is_plain(units: Sequence[Unit]) -> bool:
    """Whether there is nothing to judge but versions: new interactions with generated ids, documents put once each."""
    documents = set()
    for unit in units:
        if unit.agent is None:
            return False
        for append in unit.appends:
            if append.given or append.sequence is not None:
                return False
        for put in unit.puts:
            document = unit.agent, put.kind, put.key
            if put.body is None or put.version is not None or document in documents:
                return False
            documents.add(document)
    return True


def write_arguments(units: Sequence[Unit], *, copying: bool = False) -> list[Any]:
    """The arguments of ``write_group`` after the attempt; without the interactions where they are copied."""
    counts = _counts(units)
    agents = sorted(counts)
    index = {agent: i for i, agent in enumerate(agents, 1)}
    ordinals = dict.fromkeys(agents, 0)
    agent_of: list[int] = []
    ordinal_of: list[int] = []
    appends: list[Append] = []
    for unit in [] if copying else units:
        agent = unit.agent or ""
        for append in unit.appends:
            ordinals[agent] += 1
            agent_of.append(index[agent])
            ordinal_of.append(ordinals[agent])
            appends.append(append)
    puts = [(index[unit.agent or ""], put) for unit in units for put in unit.puts]
    return [
        agents,
        _array([counts[agent] for agent in agents]),
        _array(agent_of),
        _array(ordinal_of),
        [append.id for append in appends],
        _array([append.at_us for append in appends]),
        _array([append.crc for append in appends]),
        _array([len(append.body) for append in appends]),
        [append.body.decode() for append in appends],
        _array([agent for agent, _ in puts]),
        [put.kind for _, put in puts],
        [put.key for _, put in puts],
        _array([put.expected for _, put in puts]),
        _array([put.at_us for _, put in puts]),
        _array([put.crc for _, put in puts]),
        [(put.body or b"").decode() for _, put in puts],
    ]


COPIED = ("agent_id", "namespace", "sequence", "id", "at_us", "crc", "size", "body")
"""The columns of what ``copied_rows`` gives."""


def copied_rows(namespace: str, units: Sequence[Unit], stored: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """The rows of the interactions, from the heads that ``write_group`` returned."""
    for unit, outcome in zip(units, _written(stored[1:], units), strict=True):
        for append, sequence in zip(unit.appends, outcome.sequences, strict=True):
            yield (
                unit.agent, namespace, sequence, append.id, append.at_us, append.crc, len(append.body),
                append.body.decode(),
            )  # fmt: skip


def group_arguments(units: Sequence[Unit]) -> list[Any]:
    """The arguments of ``commit_group`` after the attempt."""
    agents = sorted({unit.agent for unit in units if unit.agent is not None})
    index = {agent: i for i, agent in enumerate(agents, 1)}
    given, classes = _given_ids(units)
    documents: dict[DocRef, int] = {}
    for unit in units:
        for put in unit.puts:
            documents.setdefault(DocRef(unit.agent, put.kind, put.key), len(documents) + 1)
    appends = [append for unit in units for append in unit.appends]
    puts = [(unit.agent, put) for unit in units for put in unit.puts]
    return [
        agents,
        _array(secrets.randbits(63) for _ in agents),
        _array(0 if ref.agent is None else index[ref.agent] for ref in documents),
        [ref.kind for ref in documents],
        [ref.key for ref in documents],
        _array(0 if unit.agent is None else index[unit.agent] for unit in units),
        _array(len(unit.appends) for unit in units),
        _array(len(unit.puts) for unit in units),
        _array(unit.turn for unit in units),
        _array(index[unit.agent or ""] for unit in units for _ in unit.appends),
        _array(given),
        _array(classes),
        [append.id for append in appends],
        _array(append.sequence for append in appends),
        _array(append.at_us for append in appends),
        _array(append.crc for append in appends),
        _array(len(append.body) for append in appends),
        [append.body.decode() for append in appends],
        _array(documents[DocRef(agent, put.kind, put.key)] for agent, put in puts),
        _array(put.expected for _, put in puts),
        _array(put.version for _, put in puts),
        _array(put.at_us for _, put in puts),
        _array(put.crc for _, put in puts),
        [None if put.body is None else put.body.decode() for _, put in puts],
    ]


def outcomes_of(stored: Sequence[int], units: Sequence[Unit]) -> list[Outcome]:
    """The outcomes of the units, from what a function returned or a receipt holds."""
    if stored[0] == _WRITTEN:
        return list(_written(stored[1:], units))
    position = 1 + 3 * len(units)
    versions_from = position + sum(len(unit.appends) for unit in units)
    outcomes: list[Outcome] = []
    for i, unit in enumerate(units):
        code, at, actual = stored[1 + 3 * i : 4 + 3 * i]
        sequences = stored[position : position + len(unit.appends)]
        versions = stored[versions_from : versions_from + len(unit.puts)]
        position += len(unit.appends)
        versions_from += len(unit.puts)
        existing = tuple(n for n, sequence in enumerate(sequences) if sequence < 0)
        if code == 0:
            outcomes.append(Applied(tuple(map(abs, sequences)), tuple(versions), existing))
        elif code == 1:
            outcomes.append(Conflict(at, actual))
        elif code == 2:
            outcomes.append(Duplicate(at, actual))
        else:
            outcomes.append(Applied(tuple(map(abs, sequences)), (), existing, replayed=True))
    return outcomes


def _counts(units: Sequence[Unit]) -> dict[str, int]:
    """How many interactions each agent gets."""
    counts: dict[str, int] = {}
    for unit in units:
        agent = unit.agent or ""
        counts[agent] = counts.get(agent, 0) + len(unit.appends)
    return counts


def _written(numbers: Sequence[int], units: Sequence[Unit]) -> Iterator[Applied]:
    """The outcomes from the new heads of the agents, and the versions of the documents after them."""
    counts = _counts(units)
    following = {
        agent: head - counts[agent] + 1 for agent, head in zip(sorted(counts), numbers, strict=False)
    }
    versions_from = len(counts)
    for unit in units:
        first = following[unit.agent or ""]
        following[unit.agent or ""] = after = first + len(unit.appends)
        versions = numbers[versions_from : versions_from + len(unit.puts)]
        versions_from += len(unit.puts)
        yield Applied(tuple(range(first, after)), tuple(versions))


def _given_ids(units: Sequence[Unit]) -> tuple[list[int], list[int]]:
    """For each append the number of its given id in the group (0: generated), and the class of its payload.

    Appends of one id have the same class exactly if their payloads are the same.
    """
    numbers: dict[tuple[str | None, str], int] = {}
    bodies: dict[int, list[bytes]] = {}
    given: list[int] = []
    classes: list[int] = []
    for unit in units:
        for append in unit.appends:
            if not append.given:
                given.append(0)
                classes.append(0)
                continue
            number = numbers.setdefault((unit.agent, append.id), len(numbers) + 1)
            of_id = bodies.setdefault(number, [])
            place = next((n for n, body in enumerate(of_id, 1) if same_payload(body, append.body)), None)
            if place is None:
                of_id.append(append.body)
                place = len(of_id)
            given.append(number)
            classes.append(place)
    return given, classes
