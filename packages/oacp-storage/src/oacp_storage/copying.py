"""Copying everything from one storage to another.

A copy keeps sequences, versions, ids and times. It may be interrupted and run again, and then goes on where it
was. It takes from the source what is there while it runs: for a consistent copy nobody may write meanwhile;
otherwise a second run brings what has come since.

Every record is compared: what is there already before anything is added to its log, and what was written by reading
it back. Both are streamed, so a copy that ends well has seen everything in the target, in bounded memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from oacp_storage.comparing import Comparison, compare_storages, differing, joined
from oacp_storage.damaged import Damages, Tell, readable, stop, undamaged, undamaged_documents
from oacp_storage.exporting import all_agents
from oacp_storage_core import (
    CorruptDataError,
    Document,
    DuplicateIdError,
    Interaction,
    Storage,
    StorageError,
    VersionConflictError,
)

__all__ = ["Comparison", "CopySummary", "compare_storages", "copy_storage"]

_BATCH_INTERACTIONS = 2_000
_BATCH_BYTES = 1024 * 1024
_AGENTS_AT_ONCE = 16


@dataclass
class CopySummary:
    """How much is in the target now; ``left_out`` is what the source has besides, and cannot be read."""

    agents: int = 0
    interactions: int = 0
    documents: int = 0
    left_out: Damages = field(default_factory=Damages)


async def copy_storage(
    source: Storage,
    target: Storage,
    *,
    skip_damaged: bool = False,
    progress: Callable[[CopySummary], None] = lambda _: None,
) -> CopySummary:
    """Copy interactions, states, learning data and system state; what is there already is passed over.

    What the target has and the source has not stays: agents, and what the source deleted since an earlier copy. A
    document of the target is replaced only by a newer version. An agent of which retention has left nothing has
    nothing to be copied. ``skip_damaged`` leaves out what cannot be read, and tells of it in the summary, as it does
    of what an earlier copy left out. ``progress`` is called after each agent.
    Raises ``CorruptDataError`` for a damaged record that is not to be left out, ``DuplicateIdError`` where the
    target has a log of its own for an agent, ``VersionConflictError`` where it has a newer or another document,
    ``UnsupportedOperationError`` where a storage lacks what is needed (IMPORT in the target), and ``StorageError``
    where what was written is not what the target then has.
    """
    summary = CopySummary()
    tell: Tell = summary.left_out if skip_damaged else stop
    turns = asyncio.Semaphore(_AGENTS_AT_ONCE)

    async def copy_one(agent_id: str) -> None:
        try:
            await _copy_agent(source, target, agent_id, summary, tell)
            progress(summary)
        finally:
            turns.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for agent_id in all_agents(source):
                await turns.acquire()
                group.create_task(copy_one(agent_id))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    async for document in undamaged_documents(source.list_system_state, tell):
        read = partial(target.get_system_state_document, document.key)
        write = partial(target.import_system_state, document)
        what = f"system state {document.key!r}"
        if await _is_wanted(document, read, what, tell):
            await _write(document, write, read, what)
        summary.documents += 1
    return summary


async def _copy_agent(
    source: Storage, target: Storage, agent_id: str, summary: CopySummary, tell: Tell
) -> None:
    # The state is read before the log, and stored after it: what a state speaks of is in the log.
    state = await readable(source.get_agent_state_document(agent_id), tell)
    state_there = partial(target.get_agent_state_document, agent_id)
    is_of_agent = f"of agent {agent_id!r}"
    wanted = state is not None and await _is_wanted(state, state_there, f"state {is_of_agent}", tell)
    head = await _common_head(source, target, agent_id)
    await _compare_common(source, target, agent_id, head, summary, tell)
    async for batch in _batches(undamaged(source.iter_interactions(agent_id, after=head), tell)):
        await target.import_records(agent_id, interactions=batch)
        await _read_back(target, agent_id, batch)
        summary.interactions += len(batch)
    if state is not None and wanted:
        write = partial(target.import_records, agent_id, state=state)
        await _write(state, write, state_there, f"state {is_of_agent}")
    summary.documents += state is not None
    async for document in undamaged_documents(partial(source.list_learning_data, agent_id), tell):
        read = partial(target.get_learning_data_document, agent_id, document.key)
        write = partial(target.import_records, agent_id, learning=[document])
        what = f"learning data {document.key!r} {is_of_agent}"
        if await _is_wanted(document, read, what, tell):
            await _write(document, write, read, what)
        summary.documents += 1
    summary.agents += 1


async def _batches(interactions: AsyncIterator[Interaction]) -> AsyncIterator[list[Interaction]]:
    batch: list[Interaction] = []
    size = 0
    async for interaction in interactions:
        batch.append(interaction)
        size += len(msgspec.json.encode(interaction.data))
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_INTERACTIONS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _common_head(source: Storage, target: Storage, agent_id: str) -> int:
    """The sequence up to which an earlier run has copied the agent's log, 0 when the target has none.

    ``DuplicateIdError`` where the newest interaction of the target is not the source's. One that is damaged is left
    to the comparison of everything up to it.
    """
    try:
        last = await anext(aiter(target.iter_interactions(agent_id, reverse=True, limit=1)), None)
    except CorruptDataError as exc:
        if exc.sequence is None:
            raise
        return exc.sequence
    if last is None:
        return 0
    try:
        original = await source.get_interaction(agent_id, last.id)
    except CorruptDataError:
        return last.sequence
    if original is None:
        raise _own_log(agent_id, last, "is not in the source")
    if fields := differing(original, last):
        raise _own_log(agent_id, last, f"is another one in the source: {fields}")
    return last.sequence


async def _compare_common(
    source: Storage, target: Storage, agent_id: str, head: int, summary: CopySummary, tell: Tell
) -> None:
    """Compare what both have of the agent's log up to ``head``; ``DuplicateIdError`` for the first that differs.

    The source may have deleted some since; and some may have been damaged then, which is told of.
    """
    if not head:
        return
    damaged: set[int | None] = set()

    def in_target(error: CorruptDataError) -> None:
        tell(_in_target(error))
        damaged.add(error.sequence)

    missing = 0
    pairs = joined(
        undamaged(source.iter_interactions(agent_id, before=head + 1), tell),
        undamaged(target.iter_interactions(agent_id, before=head + 1), in_target),
        key=_sequence,
    )
    async for ours, theirs in pairs:
        summary.interactions += theirs is not None
        if ours is not None and theirs is None:
            missing += ours.sequence not in damaged
        elif ours is not None and theirs is not None and (fields := differing(ours, theirs)):
            raise _own_log(agent_id, theirs, f"is another one in the source: {fields}")
    if missing:
        summary.left_out.note(f"{missing:,} of agent {agent_id!r} that an earlier copy left out", missing)


async def _read_back(target: Storage, agent_id: str, batch: Sequence[Interaction]) -> None:
    """``StorageError`` unless the target has exactly these interactions between the first and the last."""

    async def written() -> AsyncIterator[Interaction]:
        for one in batch:
            yield one

    there = target.iter_interactions(agent_id, after=batch[0].sequence - 1, before=batch[-1].sequence + 1)
    try:
        async for ours, theirs in joined(written(), there, key=_sequence):
            one = ours or theirs
            if one is not None and (ours is None or theirs is None or differing(ours, theirs)):
                raise _not_as_written(f"interaction {one.sequence} of agent {agent_id!r}")
    except CorruptDataError as exc:
        raise _not_as_written(str(exc)) from exc


async def _write(
    document: Document,
    write: Callable[[], Awaitable[None]],
    read: Callable[[], Awaitable[Document | None]],
    what: str,
) -> None:
    """Write a document, and read it back; ``StorageError`` unless it is the same."""
    await write()
    try:
        found = await read()
    except CorruptDataError as exc:
        raise _not_as_written(str(exc)) from exc
    if found is None or differing(found, document):
        raise _not_as_written(what)


async def _is_wanted(
    document: Document, read: Callable[[], Awaitable[Document | None]], what: str, tell: Tell
) -> bool:
    """Whether the target lacks the document, or has an older one; False when it has the very same.

    An older one has a lower version and is not of a later time: so an earlier copy left it, as far as can be
    told. Anything else was written in the target: ``VersionConflictError``.
    """
    try:
        found = await read()
    except CorruptDataError as exc:
        tell(_in_target(exc))
        return False
    if found is None:
        return True
    if not differing(found, document):
        return False
    if found.version < document.version and found.updated_at <= document.updated_at:
        return True
    raise VersionConflictError(
        f"{what}: the target has version {found.version} of {found.updated_at.isoformat()}, and it is not an older "
        f"form of version {document.version} of {document.updated_at.isoformat()} in the source; it was not "
        "replaced: delete it in the target, or copy into an empty storage",
        expected=document.version,
        actual=found.version,
    )


def _own_log(agent_id: str, one: Interaction, problem: str) -> DuplicateIdError:
    return DuplicateIdError(
        f"agent {agent_id!r}: the interaction {one.sequence} of the target (id {one.id!r}) {problem}; the target has a "
        "log of its own, and nothing was added to it: delete this agent in the target, or copy into an empty storage"
    )


def _in_target(error: CorruptDataError) -> CorruptDataError:
    message = f"in the target: {error}"
    return CorruptDataError(message, agent_id=error.agent_id, sequence=error.sequence, key=error.key)


def _not_as_written(what: str) -> StorageError:
    return StorageError(
        f"{what}: it was written into the target, and is not there as it was written; somebody else writes into the "
        "target, or it is not in order: run oacp-storage verify and health on it"
    )


def _sequence(interaction: Interaction) -> int:
    return interaction.sequence
