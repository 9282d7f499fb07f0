"""Importing: interactions from numbered lines into a storage, exactly once however often it is run.

Lines are taken by windows of bounded size. Within a window each agent's interactions are one batch, and the
batches are committed concurrently; the next window begins when all of them are acknowledged. So each agent's
log is, at any moment, a beginning of what the file has for it, and an interrupted import can be run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from oacp_storage.interchange import MalformedLineError, parse_line
from oacp_storage.lines import Line
from oacp_storage_core import Capability, DuplicateIdError, Interaction, Storage

WINDOW_LINES = 500
WINDOW_BYTES = 256 * 1024

SHOWN = 20
"""How many malformed lines are kept with their reasons; all are counted."""


@dataclass
class ImportSummary:
    """What became of the lines of an import.

    ``malformed`` lines were left out; ``reasons`` has the first of them as (line number, reason). ``there_now``
    are stored, by a storage with neither turns nor a history, which does not tell what it had before.
    """

    lines: int = 0
    added: int = 0
    already_there: int = 0
    there_now: int = 0
    malformed: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class _Window:
    """Lines taken together: the batch of each agent, and what was wrong with the others."""

    lines: int = 0
    size: int = 0
    batches: dict[str, list[tuple[int, Interaction]]] = field(default_factory=dict)
    malformed: list[tuple[int, str]] = field(default_factory=list)

    def take(self, line: Line, default_time: datetime) -> None:
        """Parse a line into its agent's batch."""
        self.lines += 1
        self.size += len(line.text or b"")
        try:
            interaction = parse_line(line, default_time)
        except MalformedLineError as exc:
            self.malformed.append((line.number, str(exc)))
        else:
            self.batches.setdefault(interaction.agent_id, []).append((line.number, interaction))


async def import_lines(
    storage: Storage,
    lines: Iterable[Line],
    *,
    default_time: datetime,
    strict: bool = False,
    progress: Callable[[ImportSummary], None] = lambda _: None,
) -> ImportSummary:
    """Store the interaction of every line, in the order of the lines for each agent.

    ``default_time`` is for lines without a timestamp. A line that is malformed, or whose id belongs to another
    interaction already, is left out and reported; with ``strict`` the first such line ends the import, and what
    came before it is stored. ``progress`` is called after each window.
    The storage needs one of TURN, BATCH_APPEND and IDEMPOTENT_APPEND, which are used in this order.
    Raises the ``StorageError`` of a batch that failed; run again, the import goes on where it was.
    """
    summary = ImportSummary()
    for window in _windows(lines, default_time, strict):
        found = window.malformed
        try:
            async with asyncio.TaskGroup() as group:
                for agent_id in list(window.batches):  # each batch is held by its task alone
                    group.create_task(_store(storage, agent_id, window.batches.pop(agent_id), summary, found))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        summary.lines += window.lines
        summary.malformed += len(found)
        summary.reasons += sorted(found)[: SHOWN - len(summary.reasons)]
        progress(summary)
        if strict and found:
            break
    return summary


def _windows(lines: Iterable[Line], default_time: datetime, strict: bool) -> Iterator[_Window]:
    window = _Window()
    for line in lines:
        window.take(line, default_time)
        del line  # it may be large, and lives on in the window
        stop = strict and window.malformed
        if stop or window.lines >= WINDOW_LINES or window.size >= WINDOW_BYTES:
            yield window
            window = _Window()
        if stop:
            return
    if window.lines:
        yield window


async def _store(
    storage: Storage,
    agent_id: str,
    batch: list[tuple[int, Interaction]],
    summary: ImportSummary,
    refused: list[tuple[int, str]],
) -> None:
    """Append the batch, or its parts where ids are in the way; the ids see to it that nothing is stored twice."""
    capabilities = storage.capabilities
    if len(batch) > 1 and not capabilities & {Capability.TURN, Capability.BATCH_APPEND}:
        for numbered in batch:
            await _store(storage, agent_id, [numbered], summary, refused)
        return
    try:
        there = await _append(storage, agent_id, [interaction for _, interaction in batch])
    except DuplicateIdError:
        if len(batch) == 1:
            [(number, one)] = batch
            refused.append(
                (number, f"the id {one.id!r} belongs to another interaction of {agent_id!r} already")
            )
            return
        middle = len(batch) // 2
        await _store(storage, agent_id, batch[:middle], summary, refused)
        await _store(storage, agent_id, batch[middle:], summary, refused)
        return
    if there is None:
        summary.there_now += len(batch)
    else:
        summary.already_there += there
        summary.added += len(batch) - there


async def _append(storage: Storage, agent_id: str, interactions: list[Interaction]) -> int | None:
    """Append all or nothing, and tell how many were there before, None where the storage cannot tell."""
    if Capability.TURN in storage.capabilities:
        turn = await storage.record_turn(agent_id, interactions=interactions)
        return len(interactions) if turn.replayed else 0
    there = await _count_there(storage, agent_id, interactions)
    if Capability.BATCH_APPEND in storage.capabilities:
        await storage.store_interactions(agent_id, interactions)
    else:
        [one] = interactions
        await storage.store_interaction(agent_id, one.data, interaction_id=one.id, timestamp=one.timestamp)
    return there


async def _count_there(storage: Storage, agent_id: str, interactions: list[Interaction]) -> int | None:
    """How many ids are taken, by the storage or by an interaction before them; None without a history to ask."""
    if Capability.HISTORY not in storage.capabilities:
        return None
    found = [await storage.get_interaction(agent_id, one) for one in {one.id for one in interactions}]
    return len(interactions) - found.count(None)
