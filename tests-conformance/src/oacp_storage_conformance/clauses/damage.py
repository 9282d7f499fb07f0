"""Damage: what is not as it was written is never returned as data, and never silently skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.documents import KINDS, DocumentKind
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_conformance.setting import tampered
from oacp_storage_core import Capability, CorruptDataError, Storage

DAMAGE = ClauseName.DAMAGE
VERIFY, HISTORY = Capability.VERIFY, Capability.HISTORY
COUNT = 6

SPOTS = {
    f"{part} of the {which}": (part, which) for part in ("body", "id", "time") for which in ("middle", "last")
}


@dataclass(frozen=True)
class _VerifiedKind:
    """A kind of documents, counted under VERIFY."""

    kind: DocumentKind

    @property
    def needs(self) -> tuple[Capability, ...]:
        return (VERIFY, *self.kind.needs)


class DamageClause:
    """Stores that were changed behind the storage's back."""

    @clause(DAMAGE, VERIFY, alone=True)
    async def test_verifying_a_sound_store_reports_nothing(self, place: Place) -> None:
        """verify reads everything and reports nothing where all is as it was written.

        Look at: checksums taken over something that changes, and what deletions leave behind.
        """
        agent = place.name("ann")
        assert [damage async for damage in place.storage.verify()] == []
        ids = await place.fill(agent, 50)
        await place.storage.store_agent_state(agent, {"n": [1.0, -0.0, "\0"]})
        if place.has(Capability.LEARNING_DATA):
            await place.storage.store_learning_data(agent, "k", {"n": 1})
        if place.has(Capability.SYSTEM_STATE):
            await place.storage.store_system_state(place.name("key"), {"n": 1})
        if place.has(Capability.RETENTION):
            await place.storage.delete_interactions(agent, ids=ids[10:20])
        if place.has(Capability.AGENTS):
            await place.fill(place.name("bob"), 3)
            await place.storage.delete_agent(place.name("bob"))
        for storage in (place.storage, await place.second()):
            assert [damage async for damage in storage.verify()] == []
        assert [damage async for damage in (await place.reopen()).verify()] == []

    @clause(DAMAGE, VERIFY, HISTORY, tamper=True, cases=SPOTS)
    async def test_a_damaged_interaction_is_reported(self, place: Place, case: tuple[str, str]) -> None:
        """A damaged interaction raises CorruptDataError with agent and sequence, and iteration may go on after it.

        That holds for the last one too: only an incomplete last record is a torn tail.

        Look at: what the checksum covers (names, id, time and body), and who compares it when reading.
        """
        part, which = case
        agent, other = place.name("ann"), place.name("bob")
        bad = COUNT if which == "last" else 3
        ids = await place.fill(agent, COUNT)
        await place.fill(other, 2)
        await _tampered(place, "flip_interaction", agent, bad, part=part)
        whole = [n for n in range(1, COUNT + 1) if n != bad]

        found, errors = await _read_on(place.storage.iter_interactions(agent))
        assert found == whole, "iteration goes on after a damaged record, and returns all others"
        assert [(exc.agent_id, exc.sequence) for exc in errors] == [(agent, bad)]
        found, errors = await _read_on(place.storage.iter_interactions(agent, reverse=True))
        assert found == whole[::-1]
        assert [(exc.agent_id, exc.sequence) for exc in errors] == [(agent, bad)]
        with pytest.raises(CorruptDataError):
            await place.storage.get_interactions(agent)
        if bad != COUNT:
            assert await place.storage.get_interactions(agent, COUNT - bad) == [
                {"n": n} for n in range(bad + 1, COUNT + 1)
            ]
        await _never_returned(place.storage, agent, ids[bad - 1])
        assert await place.storage.get_interactions(other) == [{"n": 1}, {"n": 2}]
        reports = [damage async for damage in place.storage.verify()]
        assert [(one.kind, one.agent_id, one.sequence) for one in reports] == [("interaction", agent, bad)]
        assert reports[0].reason.strip()

    @clause(DAMAGE, VERIFY, HISTORY, Capability.WATCH, tamper=True)
    async def test_watching_goes_on_after_damage(self, place: Place) -> None:
        """A watcher gets CorruptDataError for a damaged interaction, and may go on after it.

        Look at: what a watcher does when its read fails.
        """
        agent = place.name("ann")
        await place.fill(agent, COUNT)
        await _tampered(place, "flip_interaction", agent, 2, part="body")
        records = place.storage.watch_interactions(agent, after=0)
        assert (await soon(anext(records), "the first")).sequence == 1
        with pytest.raises(CorruptDataError) as caught:
            await soon(anext(records), "the damaged one")
        assert (caught.value.agent_id, caught.value.sequence) == (agent, 2)
        assert [(await soon(anext(records), "the next")).sequence for _ in range(COUNT - 2)] == [3, 4, 5, 6]
        await place.storage.store_interaction(agent, {"n": 7})
        assert (await soon(anext(records), "the live one")).sequence == 7

    @clause(DAMAGE, VERIFY, HISTORY, tamper=True)
    async def test_appending_goes_on_after_damage(self, place: Place) -> None:
        """A damaged last record is damage, not a torn tail: it keeps its place, and appending goes on after it.

        Look at: recovery that cuts a complete record off, or reuses its sequence.
        """
        agent = place.name("ann")
        await place.fill(agent, COUNT)
        await _tampered(place, "flip_interaction", agent, COUNT, part="body")
        await place.storage.store_interaction(agent, {"n": "next"})
        found, errors = await _read_on(place.storage.iter_interactions(agent))
        assert found == [1, 2, 3, 4, 5, COUNT + 1]
        assert [exc.sequence for exc in errors] == [COUNT]

    @clause(DAMAGE, cases={name: _VerifiedKind(kind) for name, kind in KINDS.items()}, tamper=True)
    async def test_a_damaged_document_is_reported(self, place: Place, case: _VerifiedKind) -> None:
        """A damaged document raises CorruptDataError with agent and key; every other one is read as before.

        Look at: whether documents carry a checksum, and who compares it when reading.
        """
        kind = case.kind
        address, other = kind.named(place, "one"), kind.named(place, "other")
        for one in (address, other):
            await kind.of(place.storage, one).store({"n": 1, "text": "some text to damage"})
        await _tampered(place, _flip(kind), *address)
        agent, key = _agent_and_key(kind, address)
        for read in (kind.of(place.storage, address).get, kind.of(place.storage, address).document):
            with pytest.raises(CorruptDataError) as caught:
                await read()
            assert caught.value.agent_id == agent
            assert (caught.value.key or "") == key
        assert await kind.of(place.storage, other).get() == {"n": 1, "text": "some text to damage"}
        reports = [damage async for damage in place.storage.verify()]
        assert [(one.kind, one.agent_id, one.key or "") for one in reports] == [(kind.noun, agent, key)]
        if kind.noun != "agent_state":
            with pytest.raises(CorruptDataError):
                await _list(place.storage, kind, address)

    @clause(DAMAGE, cases={name: _VerifiedKind(kind) for name, kind in KINDS.items()}, tamper=True)
    async def test_a_damaged_document_may_be_replaced(self, place: Place, case: _VerifiedKind) -> None:
        """Storing over a damaged document makes it whole again; an update, which has to read it, raises.

        Look at: writes that need to read what they replace.
        """
        kind = case.kind
        address = kind.named(place, "one")
        await kind.of(place.storage, address).store({"n": 1})
        await _tampered(place, _flip(kind), *address)
        handle = kind.of(place.storage, address)
        with pytest.raises(CorruptDataError):
            await handle.update(lambda _data: {"n": 2})
        await handle.store({"n": 3})
        assert await handle.get() == {"n": 3}
        assert [damage async for damage in place.storage.verify()] == []

    @clause(DAMAGE, VERIFY, HISTORY, Capability.NAMESPACES, tamper=True)
    async def test_damage_is_reported_in_its_namespace(self, place: Place) -> None:
        """verify of one namespace says nothing of damage in another.

        Look at: whether the namespace is part of verify's conditions.
        """
        agent = place.name("ann")
        namespace = place.setting.another_namespace()
        await place.fill(agent, 3)
        there = await place.open(namespace=namespace)
        await there.store_interaction(agent, {"n": 1})
        await _tampered(place, "flip_interaction", agent, 2, part="body")
        there = await place.open(namespace=namespace)
        assert [damage async for damage in there.verify()] == []
        assert [one.data async for one in there.iter_interactions(agent)] == [{"n": 1}]
        assert [damage.sequence async for damage in place.storage.verify()] == [2]

    @clause(DAMAGE, VERIFY, HISTORY, tamper=True)
    async def test_a_torn_tail_is_cut_back(self, place: Place) -> None:
        """An incomplete last record is a torn tail: it is cut back, and appending goes on without a gap.

        Look at: what open() does with the rest of a write that a crash interrupted.
        """
        agent = place.name("ann")
        await place.fill(agent, COUNT)
        await _tampered(place, "tear_tail", agent)
        assert sequences([one async for one in place.storage.iter_interactions(agent)]) == [1, 2, 3, 4, 5, 6]
        await place.fill(agent, 2, start=COUNT + 1)
        for _ in range(2):
            log = [one async for one in place.storage.iter_interactions(agent)]
            assert [(one.sequence, one.data) for one in log] == [(n, {"n": n}) for n in range(1, COUNT + 3)]
            assert [damage async for damage in place.storage.verify()] == []
            await place.reopen()


async def _tampered(place: Place, change: str, *args: Any, **kwargs: Any) -> None:
    """Change the closed store, and open it again."""
    namespace = place.setting.namespace or "default"
    await place.close_all()
    tampered(place.setting, change, *args, **kwargs, namespace=namespace)
    await place.reopen()


def _flip(kind: DocumentKind) -> str:
    return "flip_state" if kind.noun == "agent_state" else f"flip_{kind.noun}"


async def _read_on(records: AsyncIterator[Any]) -> tuple[list[int], list[CorruptDataError]]:
    """Sequences and errors in their order, asking on after each error."""
    found: list[int] = []
    errors: list[CorruptDataError] = []
    while True:
        try:
            found.append((await soon(anext(records), "the next record")).sequence)
        except CorruptDataError as exc:
            errors.append(exc)
            assert len(errors) < 100, "the same error again and again"
        except StopAsyncIteration:
            return found, errors


async def _never_returned(storage: Storage, agent: str, ident: str) -> None:
    """A damaged interaction asked for by its id: an error, or not found where the id itself is damaged."""
    try:
        found = await storage.get_interaction(agent, ident)
    except CorruptDataError:
        return
    assert found is None, "a damaged record was returned as data"


def _agent_and_key(kind: DocumentKind, address: tuple[str, ...]) -> tuple[str | None, str]:
    if kind.noun == "system_state":
        return None, address[0]
    return address[0], address[1] if len(address) > 1 else ""


async def _list(storage: Storage, kind: DocumentKind, address: tuple[str, ...]) -> list[Any]:
    if kind.noun == "system_state":
        return list(await storage.list_system_state())
    return list(await storage.list_learning_data(address[0]))
