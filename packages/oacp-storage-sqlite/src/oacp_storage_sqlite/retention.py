"""Removing: retention and the erasure of agents, in steps that hold other writers up for a moment only."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence

from oacp_storage_core import RetentionPick
from oacp_storage_engine import DocKind, Erased, Trimmed
from oacp_storage_sqlite import sql
from oacp_storage_sqlite.schema import INCREMENTAL, pragma
from oacp_storage_sqlite.writer import Place

MAX_INTEGER = 2**63 - 1

_STEP_SECONDS = (
    0.2  # of deleting, in one transaction; rows of 15 MiB make it long before any limit of rows does
)
_CHUNK = 10
_FEW_PAGES = 32


def trim(connection: sqlite3.Connection, places: Iterable[Place], pick: RetentionPick, limit: int) -> Trimmed:
    """Delete up to ``limit`` interactions of these agents that the pick names."""
    until = time.monotonic() + _STEP_SECONDS
    removed = 0
    for place in places:
        positions = _picked(connection, place.ref, pick, limit - removed)
        done = _delete(connection, sql.DELETE_INTERACTION, positions, until)
        removed += done
        if done < len(positions) or removed >= limit:
            return Trimmed(removed, more=True)
    return Trimmed(removed)


def count_picked(connection: sqlite3.Connection, places: Iterable[Place], pick: RetentionPick) -> int:
    """How many interactions of these agents the pick names."""
    total = 0
    for place in places:
        if pick.ids is not None:
            total += sum(1 for _ in _picked_by_id(connection, place.ref, pick))
        elif condition := _condition(connection, place.ref, pick):
            total += connection.execute(sql.COUNT + condition[0], condition[1]).fetchone()[0]
    return total


def hide(connection: sqlite3.Connection, place: Place, name_hash: bytes) -> Erased:
    """Take the agent out of sight with everything it has, to be removed by ``sweep``; returns what it had."""
    interactions = connection.execute(sql.COUNT + "agent = ?", (place.ref,)).fetchone()[0]
    kinds = dict(connection.execute(sql.COUNT_DOCUMENTS, (place.ref,)).fetchall())
    connection.execute(sql.REMOVE_AGENT, (place.ref,))
    connection.execute(sql.SET_TOMBSTONE, (name_hash, place.head))
    connection.execute(sql.ADD_ERASING, (place.ref, name_hash))
    states = kinds.get(DocKind.STATE.encode(), 0)
    learning = kinds.get(DocKind.LEARNING.encode(), 0)
    return Erased(interactions, states, learning, more=True)


def has_hidden(connection: sqlite3.Connection) -> bool:
    """Whether there are hidden agents whose rows are not all removed."""
    return connection.execute(sql.ERASING).fetchone() is not None


def sweep(connection: sqlite3.Connection, name_hash: bytes | None, limit: int) -> bool:
    """Remove up to ``limit`` rows of hidden agents of this name, or of any; whether there are more."""
    until = time.monotonic() + _STEP_SECONDS
    if name_hash is None:
        hidden = connection.execute(sql.ERASING).fetchall()
    else:
        hidden = connection.execute(sql.ERASING_OF_NAME, (name_hash,)).fetchall()
    for (ref,) in hidden:
        for select, delete in (
            (sql.POSITIONS + "agent = ? LIMIT ?", sql.DELETE_INTERACTION),
            (sql.DOCUMENT_POSITIONS, sql.DELETE_DOCUMENT),
        ):
            positions = [row[0] for row in connection.execute(select, (ref, limit))]
            done = _delete(connection, delete, positions, until)
            limit -= done
            if done < len(positions) or limit <= 0:
                return True
        connection.execute(sql.ERASED, (ref,))
    return False


def has_spare_pages(connection: sqlite3.Connection) -> bool:
    """Whether the file could shrink by more than a few pages, and is made so that it can."""
    return (
        pragma(connection, "freelist_count") >= _FEW_PAGES
        and pragma(connection, "auto_vacuum") == INCREMENTAL
    )


def give_back_pages(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system, for a moment.

    However many pages the pragma is asked for, it frees one a step, and sqlite3 takes one step of it.
    """
    until = time.monotonic() + _STEP_SECONDS
    for _ in range(pragma(connection, "freelist_count")):
        connection.execute("PRAGMA incremental_vacuum(1)").close()
        if time.monotonic() >= until:
            return


def _picked(connection: sqlite3.Connection, ref: int, pick: RetentionPick, limit: int) -> list[int]:
    """The positions of up to ``limit`` interactions to remove."""
    if pick.ids is not None:
        return [
            position for position, _ in zip(_picked_by_id(connection, ref, pick), range(limit), strict=False)
        ]
    condition = _condition(connection, ref, pick)
    if condition is None:
        return []
    where, values = condition
    rows = connection.execute(f"{sql.POSITIONS}{where} LIMIT ?", (*values, limit))
    return [row[0] for row in rows]


def _picked_by_id(connection: sqlite3.Connection, ref: int, pick: RetentionPick) -> Iterator[int]:
    cutoff = _cutoff(connection, ref, pick.keep_last)
    if cutoff is None:
        return
    for interaction_id in dict.fromkeys(pick.ids or ()):
        row = connection.execute(sql.PLACE_OF_ID, (interaction_id, ref)).fetchone()
        if row is not None:
            position, sequence, at_us = row
            if sequence <= cutoff and (pick.before_us is None or at_us < pick.before_us):
                yield position


def _condition(
    connection: sqlite3.Connection, ref: int, pick: RetentionPick
) -> tuple[str, tuple[int, ...]] | None:
    """What the interactions of one agent must meet to be removed, None when none can."""
    cutoff = _cutoff(connection, ref, pick.keep_last)
    if cutoff is None:
        return None
    if pick.before_us is None:
        return "agent = ? AND sequence <= ?", (ref, cutoff)
    return "agent = ? AND sequence <= ? AND at_us < ?", (ref, cutoff, pick.before_us)


def _cutoff(connection: sqlite3.Connection, ref: int, keep_last: int | None) -> int | None:
    """The last sequence that ``keep_last`` lets go, None when there is none."""
    if not keep_last:
        return MAX_INTEGER
    row = connection.execute(sql.NTH_NEWEST, (ref, min(keep_last, MAX_INTEGER))).fetchone()
    return None if row is None else int(row[0])


def _delete(connection: sqlite3.Connection, statement: str, positions: Sequence[int], until: float) -> int:
    """Delete the rows at these positions until the time is over, at least some; returns how many."""
    for start in range(0, len(positions), _CHUNK):
        connection.executemany(statement, [(position,) for position in positions[start : start + _CHUNK]])
        if time.monotonic() >= until:
            return min(start + _CHUNK, len(positions))
    return len(positions)
