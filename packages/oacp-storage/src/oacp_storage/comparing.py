"""Comparing two storages record by record; what is damaged in one of them is a difference, and named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from oacp_storage.damaged import Tell, readable, undamaged, undamaged_documents
from oacp_storage.exporting import all_agents
from oacp_storage_core import CorruptDataError, Document, Interaction, Storage

_T = TypeVar("_T")
_Record = Interaction | Document

SHOWN = 20
"""How many differences are kept in words; all are counted."""


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


async def compare_storages(one: Storage, other: Storage) -> Comparison:
    """Compare every record: sequences, ids, times, versions, and payloads with types and key order.

    A damaged record counts as one difference, that names the storage it is in.
    """
    result = Comparison()
    async for names in joined(all_agents(one), all_agents(other), key=str):
        result.agents += 1
        await _compare_agent(one, other, names[0] or names[1] or "", result)
    damaged: set[Any] = set()
    async for pair in joined(
        undamaged_documents(one.list_system_state, _told(result, "first", damaged)),
        undamaged_documents(other.list_system_state, _told(result, "second", damaged)),
        key=_key,
    ):
        result.documents += 1
        if _name(pair) not in damaged:
            _note(result, f"system state {_name(pair)!r}", *pair)
    return result


async def _compare_agent(one: Storage, other: Storage, agent_id: str, result: Comparison) -> None:
    damaged: set[Any] = set()
    in_first, in_second = _told(result, "first", damaged), _told(result, "second", damaged)
    logs = joined(
        undamaged(one.iter_interactions(agent_id), in_first),
        undamaged(other.iter_interactions(agent_id), in_second),
        key=lambda record: record.sequence,
    )
    async for pair in logs:
        result.interactions += 1
        first = pair[0] or pair[1]
        sequence = first.sequence if first else 0
        if sequence not in damaged:
            _note(result, f"agent {agent_id!r}, interaction {sequence}", *pair)
    before = result.differences
    states = (
        await readable(one.get_agent_state_document(agent_id), in_first),
        await readable(other.get_agent_state_document(agent_id), in_second),
    )
    if states != (None, None):
        result.documents += 1
        if result.differences == before:
            _note(result, f"state of agent {agent_id!r}", *states)
    learned = (
        undamaged_documents(partial(one.list_learning_data, agent_id), in_first),
        undamaged_documents(partial(other.list_learning_data, agent_id), in_second),
    )
    async for documents in joined(*learned, key=_key):
        result.documents += 1
        if _name(documents) not in damaged:
            _note(result, f"learning data {_name(documents)!r} of agent {agent_id!r}", *documents)


def _told(result: Comparison, which: str, damaged: set[Any]) -> Tell:
    """A ``Tell`` that counts a damaged record as a difference, and puts its sequence or key into ``damaged``.

    So its counterpart in the other storage is not called a second difference.
    """

    def tell(error: CorruptDataError) -> None:
        place = error.key if error.sequence is None else error.sequence
        result.differences += place is None or place not in damaged
        damaged.add(place)
        if len(result.shown) < SHOWN:
            result.shown.append(f"damaged in the {which}: {error}")

    return tell


def _note(result: Comparison, what: str, one: _Record | None, other: _Record | None) -> None:
    """Count a pair of records that differ."""
    if one is None or other is None:
        words = f"only in the {'second' if one is None else 'first'}"
    else:
        words = differing(one, other)
    if not words:
        return
    result.differences += 1
    if len(result.shown) < SHOWN:
        result.shown.append(f"{what}: {words}")


def differing(one: _Record, other: _Record) -> str:
    """The fields that differ, in words; empty when none does.

    Their encodings are compared: there 1 is not 1.0, nor true.
    """
    if _bytes(one) == _bytes(other):
        return ""
    fields = [
        name for name in one.__struct_fields__ if _bytes(getattr(one, name)) != _bytes(getattr(other, name))
    ]
    return f"{' and '.join(fields)} differ{'s' if len(fields) == 1 else ''}"


async def joined(
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
