"""Copying everything from one storage to another, and comparing two of them record by record.

A copy keeps sequences, versions, ids and times. It may be interrupted and run again, and then goes on where it
was. It takes from the source what is there while it runs: for a consistent copy nobody may write meanwhile;
otherwise a second run brings what has come since.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from oacp_storage.damaged import Damages, Tell, readable, stop, undamaged, undamaged_documents
from oacp_storage.exporting import all_agents
from oacp_storage_core import CorruptDataError, Document, Interaction, Storage

_T = TypeVar("_T")
_Record = Interaction | Document

_BATCH_INTERACTIONS = 2_000
_BATCH_BYTES = 1024 * 1024
_AGENTS_AT_ONCE = 16

SHOWN = 20
"""How many differences are kept in words; all are counted."""


@dataclass
class CopySummary:
    """How much is in the target now; ``left_out`` is what the source has besides, and cannot be read."""

    agents: int = 0
    interactions: int = 0
    documents: int = 0
    left_out: Damages = field(default_factory=Damages)


@dataclass
class Comparison:
    """What was compared, counted in records of either side, and how many differ; ``shown`` has the first."""

    agents: int = 0
    interactions: int = 0
    documents: int = 0
    differences: int = 0
    shown: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether not a single record differs."""
        return not self.differences


async def copy_storage(
    source: Storage,
    target: Storage,
    *,
    skip_damaged: bool = False,
    progress: Callable[[CopySummary], None] = lambda _: None,
) -> CopySummary:
    """Copy interactions, states, learning data and system state; what is there already is passed over.

    Agents of the target that the source does not have stay; documents are replaced. An agent of which retention
    has left nothing has nothing to be copied. ``skip_damaged`` leaves out what cannot be read, and tells of it in
    the summary, as it does of what an earlier copy left out. ``progress`` is called after each agent.
    Raises ``CorruptDataError`` for a damaged record that is not to be left out, ``DuplicateIdError`` where the
    target has a log of its own for an agent, and ``UnsupportedOperationError`` where a storage lacks what is needed
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
        await target.import_system_state(document)
        summary.documents += 1
    return summary


async def _copy_agent(
    source: Storage, target: Storage, agent_id: str, summary: CopySummary, tell: Tell
) -> None:
    # The state is read before the log, and stored after it: what a state speaks of is in the log.
    state = await readable(source.get_agent_state_document(agent_id), tell)
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
    await target.import_records(agent_id, interactions=batch, state=state)
    summary.interactions += len(batch)
    summary.documents += state is not None
    async for document in undamaged_documents(partial(source.list_learning_data, agent_id), tell):
        await target.import_records(agent_id, learning=[document])
        summary.documents += 1
    summary.agents += 1


async def _common_head(source: Storage, target: Storage, agent_id: str, tell: Tell) -> int:
    """The sequence up to which an earlier run has copied the agent's log, 0 when there is nothing to rely on."""
    async for last in target.iter_interactions(agent_id, reverse=True, limit=1):
        try:
            original = await source.get_interaction(agent_id, last.id)
        except CorruptDataError as exc:
            tell(exc)
            return last.sequence if exc.sequence == last.sequence else 0
        if _bytes(original) == _bytes(last):
            return last.sequence
    return 0


async def compare_storages(one: Storage, other: Storage) -> Comparison:
    """Compare every record: sequences, ids, times, versions, and payloads with types and key order."""
    result = Comparison()
    async for names in _joined(all_agents(one), all_agents(other), key=str):
        result.agents += 1
        await _compare_agent(one, other, names[0] or names[1] or "", result)
    async for pair in _joined(
        *(undamaged_documents(side.list_system_state, stop) for side in (one, other)), key=_key
    ):
        result.documents += 1
        _note(result, f"system state {_name(pair)!r}", *pair)
    return result


async def _compare_agent(one: Storage, other: Storage, agent_id: str, result: Comparison) -> None:
    logs = _joined(
        one.iter_interactions(agent_id), other.iter_interactions(agent_id), key=lambda record: record.sequence
    )
    async for pair in logs:
        result.interactions += 1
        first = pair[0] or pair[1]
        _note(result, f"agent {agent_id!r}, interaction {first.sequence if first else 0}", *pair)
    states = await one.get_agent_state_document(agent_id), await other.get_agent_state_document(agent_id)
    if states != (None, None):
        result.documents += 1
        _note(result, f"state of agent {agent_id!r}", *states)
    learned = (undamaged_documents(partial(side.list_learning_data, agent_id), stop) for side in (one, other))
    async for documents in _joined(*learned, key=_key):
        result.documents += 1
        _note(result, f"learning data {_name(documents)!r} of agent {agent_id!r}", *documents)


def _note(result: Comparison, what: str, one: _Record | None, other: _Record | None) -> None:
    """Count a pair of records that differ. Their encodings are compared: there 1 is not 1.0, nor true."""
    if _bytes(one) == _bytes(other):
        return
    result.differences += 1
    if len(result.shown) == SHOWN:
        return
    if one is None or other is None:
        result.shown.append(f"{what}: only in the {'second' if one is None else 'first'}")
        return
    fields = [
        name for name in one.__struct_fields__ if _bytes(getattr(one, name)) != _bytes(getattr(other, name))
    ]
    result.shown.append(f"{what}: {' and '.join(fields)} differ{'s' if len(fields) == 1 else ''}")


async def _joined(
    left: AsyncIterator[_T], right: AsyncIterator[_T], *, key: Callable[[_T], Any]
) -> AsyncIterator[tuple[_T | None, _T | None]]:
    """Both sorted streams side by side: what has the same key together, None where one has nothing."""
    one, other = await anext(left, None), await anext(right, None)
    while one is not None or other is not None:
        if one is not None and (other is None or key(one) < key(other)):
            yield one, None
            one = await anext(left, None)
        elif other is not None and (one is None or key(other) < key(one)):
            yield None, other
            other = await anext(right, None)
        else:
            yield one, other
            one, other = await anext(left, None), await anext(right, None)


def _key(document: Document) -> str:
    return document.key


def _name(pair: tuple[Document | None, Document | None]) -> str:
    return "".join(document.key for document in pair[:1] if document) or "".join(
        document.key for document in pair[1:] if document
    )


def _bytes(value: Any) -> bytes:
    return msgspec.json.encode(value)
