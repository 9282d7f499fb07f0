"""Turns and imports: interactions and documents of one agent, written together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oacp_storage_core import Document, Interaction, Turn
from oacp_storage_core.arguments import (
    NewInteraction,
    check_call_size,
    check_expected_version,
    new_interactions,
)
from oacp_storage_core.names import check_name
from oacp_storage_core.payload import decode
from oacp_storage_core.times import from_us
from oacp_storage_engine.documents import Documents, document_of
from oacp_storage_engine.primitives import Applied, DocKind, Put, Unit
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.writing import appends_of


class Turns(Documents):
    """The part of ``EngineStorage`` that writes interactions and documents as one."""

    async def record_turn(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Mapping[str, Any] | Interaction] = (),
        state: dict[str, Any] | None = None,
        expected_version: int | None = None,
        learning: Mapping[str, dict[str, Any]] | None = None,
    ) -> Turn:
        agent = check_name(agent_id)
        expected = check_expected_version(expected_version)
        if state is None and expected is not None:
            raise ValueError("expected_version belongs to the state of the turn, and there is no state")
        new = new_interactions(agent, interactions, coerce=self._coerce)
        puts: list[Put] = []
        if state is not None:
            puts.append(self._new_put(agent, DocKind.STATE, "", state, expected, at="$.state"))
        for name, value in (learning or {}).items():
            key = check_name(name, "learning key")
            puts.append(self._new_put(agent, DocKind.LEARNING, key, value, at=f"$.learning[{key!r}]"))
        appends, size = appends_of(agent, new)
        size += sum([len(put.body or b"") for put in puts])
        check_call_size(size)
        if not new and not puts:
            return Turn((), None, {})
        with self._call() as runtime:
            applied = await self._write(runtime, Unit(agent, appends, tuple(puts), turn=True), size)
            if applied.replayed:
                return await self._replayed_turn(runtime, agent, new, applied, puts)
        documents = {
            put.key: document_of(put, version) for put, version in zip(puts, applied.versions, strict=True)
        }
        return Turn(_written(agent, new, applied.sequences), documents.pop("", None), documents)

    async def _replayed_turn(
        self, runtime: Runtime, agent: str, new: list[NewInteraction], applied: Applied, puts: list[Put]
    ) -> Turn:
        """The turn as found: its interactions have the times of their first storing."""
        ids = [one.id for one in new]
        times = {one.id: one.at_us for one in await runtime.read(lambda: runtime.engine.find(agent, ids))}
        found = tuple(
            Interaction(agent, one.id, sequence, from_us(times.get(one.id, one.at_us)), one.data)
            for one, sequence in zip(new, applied.sequences, strict=True)
        )
        state: Document | None = None
        if any(put.kind is DocKind.STATE for put in puts):
            (state,) = await self._read_documents(runtime, agent, DocKind.STATE, [""])
        keys = [put.key for put in puts if put.kind is DocKind.LEARNING]
        learning: list[Document | None] = []
        if keys:
            learning = await self._read_documents(runtime, agent, DocKind.LEARNING, keys)
        return Turn(found, state, {one.key: one for one in learning if one is not None}, replayed=True)

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        agent = check_name(agent_id)
        new = new_interactions(agent, interactions, coerce=self._coerce, imported=True)
        puts = [] if state is None else [self._imported_put(agent, DocKind.STATE, state)]
        puts += [self._imported_put(agent, DocKind.LEARNING, document) for document in learning]
        appends, size = appends_of(agent, new)
        size += sum([len(put.body or b"") for put in puts])
        check_call_size(size)
        with self._call() as runtime:
            if new or puts:
                await self._write(runtime, Unit(agent, appends, tuple(puts)), size)

    async def import_system_state(self, document: Document) -> None:
        put = self._imported_put(None, DocKind.SYSTEM, document)
        with self._call() as runtime:
            await self._write(runtime, Unit(None, (), (put,)), len(put.body or b""))


def _written(agent: str, new: Sequence[NewInteraction], sequences: Sequence[int]) -> tuple[Interaction, ...]:
    """The interactions as they are stored now, with fresh copies of their payloads."""
    first_us = new[0].at_us if new else 0
    first = from_us(first_us)  # usually that of all
    return tuple(
        [
            Interaction(agent, name, sequence, first if at_us == first_us else from_us(at_us), decode(body))
            for (name, _, at_us, body, _), sequence in zip(new, sequences, strict=True)
        ]
    )
