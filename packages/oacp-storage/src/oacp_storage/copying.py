"""Copying everything from one storage to another.

A copy keeps sequences, versions, ids and times. It may be interrupted and run again, and then goes on where it
was. It takes from the source what is there while it runs: for a consistent copy nobody may write meanwhile;
otherwise a second run brings what has come since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from oacp_storage.comparing import Comparison, compare_storages, differing
from oacp_storage.damaged import Damages, Tell, readable, stop, undamaged, undamaged_documents
from oacp_storage.exporting import all_agents
from oacp_storage_core import (
    CorruptDataError,
    Document,
    DuplicateIdError,
    Interaction,
    Storage,
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

    Agents of the target that the source does not have stay. A document of the target is replaced only by a newer
    version. An agent of which retention has left nothing has nothing to be copied.
    ``skip_damaged`` leaves out what cannot be read, and tells of it in
    the summary, as it does of what an earlier copy left out. ``progress`` is called after each agent.
    Raises ``CorruptDataError`` for a damaged record that is not to be left out, ``DuplicateIdError`` where the
    target has a log of its own for an agent, ``VersionConflictError`` where it has a newer or another document,
    and ``UnsupportedOperationError`` where a storage lacks what is needed
    (IMPORT in the target).
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
        what = f"system state {document.key!r}"
        if await _is_wanted(document, target.get_system_state_document(document.key), what, tell):
            await target.import_system_state(document)
        summary.documents += 1
    return summary


async def _copy_agent(
    source: Storage, target: Storage, agent_id: str, summary: CopySummary, tell: Tell
) -> None:
    # The state is read before the log, and stored after it: what a state speaks of is in the log.
    state = await readable(source.get_agent_state_document(agent_id), tell)
    new_state = state
    if state is not None:
        there_already = target.get_agent_state_document(agent_id)
        if not await _is_wanted(state, there_already, f"state of agent {agent_id!r}", tell):
            new_state = None
    after = await _common_head(source, target, agent_id, tell)
    there = await target.count_interactions(agent_id, before=after + 1)
    missing = await source.count_interactions(agent_id, before=after + 1) - there
    if missing > 0:
        summary.left_out.note(f"{missing:,} of agent {agent_id!r} that an earlier copy left out", missing)
    summary.interactions += there
    batch: list[Interaction] = []
    size = 0
    async for interaction in undamaged(source.iter_interactions(agent_id, after=after), tell):
        batch.append(interaction)
        size += len(msgspec.json.encode(interaction.data))
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_INTERACTIONS:
            await target.import_records(agent_id, interactions=batch)
            summary.interactions += len(batch)
            batch, size = [], 0
    await target.import_records(agent_id, interactions=batch, state=new_state)
    summary.interactions += len(batch)
    summary.documents += state is not None
    async for document in undamaged_documents(partial(source.list_learning_data, agent_id), tell):
        there_already = target.get_learning_data_document(agent_id, document.key)
        what = f"learning data {document.key!r} of agent {agent_id!r}"
        if await _is_wanted(document, there_already, what, tell):
            await target.import_records(agent_id, learning=[document])
        summary.documents += 1
    summary.agents += 1


async def _is_wanted(document: Document, there: Awaitable[Document | None], what: str, tell: Tell) -> bool:
    """Whether the target lacks the document, or has an older one; False when it has the very same.

    An older one has a lower version and is not of a later time: so an earlier copy left it, as far as can be
    told. Anything else was written in the target: ``VersionConflictError``.
    """
    try:
        found = await there
    except CorruptDataError as exc:
        tell(CorruptDataError(f"in the target: {exc}", agent_id=exc.agent_id, key=exc.key))
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


async def _common_head(source: Storage, target: Storage, agent_id: str, tell: Tell) -> int:
    """The sequence up to which an earlier run has copied the agent's log, 0 when the target has none.

    ``DuplicateIdError`` where the newest interaction of the target is not the source's.
    """
    async for last in target.iter_interactions(agent_id, reverse=True, limit=1):
        try:
            original = await source.get_interaction(agent_id, last.id)
        except CorruptDataError as exc:
            tell(exc)
            return last.sequence if exc.sequence == last.sequence else 0
        if original is None:
            problem = "is not in the source"
        elif fields := differing(original, last):
            problem = f"is another one in the source: {fields}"
        else:
            return last.sequence
        raise DuplicateIdError(
            f"agent {agent_id!r}: the newest interaction {last.sequence} of the target (id {last.id!r}) {problem}; "
            "the target has a log of its own, and nothing was added to it: delete this agent in the target, or "
            "copy into an empty storage"
        )
    return 0
