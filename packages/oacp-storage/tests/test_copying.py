"""Copying and comparing: everything with sequences, versions and times, resumable, and every difference seen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from oacp_storage import copying
from oacp_storage.comparing import SHOWN
from oacp_storage.copying import Comparison, compare_storages, copy_storage
from oacp_storage_core import (
    Document,
    DuplicateIdError,
    Interaction,
    MemoryStorage,
    Storage,
    StorageTimeoutError,
    StorageWrapper,
    UnsupportedOperationError,
    adapt,
)
from oacp_storage_core.backend import StorageBackend

THEN = datetime(2024, 1, 1, tzinfo=UTC)


async def fill(storage: Storage) -> None:
    """Some of everything: holes in logs, versions, deleted and strange things."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for number in range(40):
        agent = f"agent-{chance.randrange(25)}"
        batch = [{"number": number, "i": i, "x": chance.random()} for i in range(chance.randrange(1, 9))]
        await storage.record_turn(
            agent,
            interactions=batch,
            state={"n": number},
            learning={f"key-{chance.randrange(5)}": {"n": number}},
        )
    await storage.store_interaction(
        "given", {"": 1, "a.b": -0.0, "$c": 10**400}, interaction_id="i", timestamp=THEN
    )
    for number in range(10):
        await storage.store_interaction("holes", {"n": number}, interaction_id=f"h{number}")
    await storage.delete_interactions("holes", ids=["h2", "h3", "h7"])
    await storage.store_agent_state("only-a-state", {"x": 1})
    for key in range(45):
        await storage.store_learning_data("only-learning", f"key-{key}", {"x": key})
    for key in range(45):
        await storage.store_system_state(f"setting-{key}", {"n": key})
    await storage.store_system_state("setting-1", {"n": "again"})


async def same(one: Storage, other: Storage) -> Comparison:
    result = await compare_storages(one, other)
    assert result.equal, result.shown
    return result


@pytest.mark.asyncio
async def test_everything_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_BATCH_INTERACTIONS", 3)
    async with MemoryStorage() as source, MemoryStorage() as target:
        await fill(source)
        seen: list[int] = []
        summary = await copy_storage(source, target, progress=lambda summary: seen.append(summary.agents))
        result = await same(source, target)
        assert (summary.agents, summary.interactions, summary.documents) == (
            result.agents,
            result.interactions,
            result.documents,
        )
        assert seen == list(range(1, summary.agents + 1))
        # What a copy has to carry, seen by a second way.
        assert [one.sequence async for one in target.iter_interactions("holes")] == [1, 2, 5, 6, 7, 9, 10]
        assert (await target.get_interaction("given", "i")) == (await source.get_interaction("given", "i"))
        document = await target.get_system_state_document("setting-1")
        assert document is not None
        assert document.version == 2


@pytest.mark.asyncio
async def test_copying_again_changes_nothing_and_brings_what_is_new() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await fill(source)
        first = await copy_storage(source, target)
        assert await copy_storage(source, target) == first
        await same(source, target)
        await source.record_turn("given", interactions=[{"new": 1}], state={"new": 1})
        await copy_storage(source, target)
        await same(source, target)


class Failing(StorageWrapper):
    """Fails once, at the given import."""

    calls = 0
    at = 0

    async def import_records(self, agent_id: str, **keywords: Any) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise StorageTimeoutError("the server did not answer in time")
        await super().import_records(agent_id, **keywords)


@pytest.mark.asyncio
@pytest.mark.parametrize("at", [1, 2, 10, 40])
async def test_an_interrupted_copy_goes_on(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_BATCH_INTERACTIONS", 3)
    async with MemoryStorage() as source, MemoryStorage() as memory:
        await fill(source)
        target = Failing(memory)
        target.at = at
        with pytest.raises(StorageTimeoutError):
            await copy_storage(source, target)
        assert not (await compare_storages(source, memory)).equal
        await copy_storage(source, target)
        await same(source, memory)


class Counting(StorageWrapper):
    """Counts the interactions that are imported."""

    imported = 0

    async def import_records(
        self, agent_id: str, *, interactions: Sequence[Interaction] = (), **keywords: Any
    ) -> None:
        self.imported += len(interactions)
        await super().import_records(agent_id, interactions=interactions, **keywords)


@pytest.mark.asyncio
async def test_what_is_there_is_not_sent_again() -> None:
    async with MemoryStorage() as source, MemoryStorage() as memory:
        await source.store_interactions("a", [{"n": n} for n in range(100)])
        await copy_storage(source, memory)
        await source.store_interaction("a", {"n": 100})
        target = Counting(memory)
        await copy_storage(source, target)
        assert target.imported == 1


@pytest.mark.asyncio
async def test_a_log_of_its_own_in_the_target_is_not_overwritten() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.store_interactions("a", [{"n": 1}, {"n": 2}])
        await target.store_interaction("a", {"mine": 1})
        with pytest.raises(DuplicateIdError):
            await copy_storage(source, target)
        assert await target.get_interactions("a") == [{"mine": 1}]


@pytest.mark.asyncio
async def test_four_methods_cannot_be_copied() -> None:
    class Four(StorageBackend):
        async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
            return ""

        async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
            return []

        async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> None:
            return None

        async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
            return None

    async with MemoryStorage() as memory, adapt(Four()) as four:
        with pytest.raises(UnsupportedOperationError, match="AGENTS"):
            await copy_storage(four, memory)
        await memory.store_interaction("a", {})
        with pytest.raises(UnsupportedOperationError):
            await copy_storage(memory, four)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("one", "other", "fields"),
    [
        ({"a": 1}, {"a": 1.0}, "data"),
        ({"a": 1}, {"a": True}, "data"),
        ({"a": 0.0}, {"a": -0.0}, "data"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "data"),
        ({"a": None}, {}, "data"),
    ],
)
async def test_what_only_looks_equal_differs(one: dict[str, Any], other: dict[str, Any], fields: str) -> None:
    async with MemoryStorage() as first, MemoryStorage() as second:
        for storage, data in (first, one), (second, other):
            await storage.store_interaction("a", data, interaction_id="i", timestamp=THEN)
            await storage.import_records("a", state=Document("", data, 1, THEN))
        result = await compare_storages(first, second)
        assert result.shown == [
            f"agent 'a', interaction 1: {fields} differs",
            "state of agent 'a': data differs",
        ]


@pytest.mark.asyncio
async def test_every_kind_of_difference_is_named() -> None:
    async with MemoryStorage() as first, MemoryStorage() as second:
        await first.store_interaction("both", {"n": 1}, interaction_id="x", timestamp=THEN)
        await second.store_interaction("both", {"n": 1}, interaction_id="y", timestamp=datetime.now(UTC))
        await first.store_interaction("only", {})
        await first.import_records("both", state=Document("", {}, 1, THEN))
        await second.import_records("both", state=Document("", {}, 2, THEN))
        await second.import_records("both", learning=[Document("k", {}, 1, THEN)])
        await first.import_system_state(Document("s", {}, 1, THEN))
        await second.import_system_state(Document("t", {}, 1, THEN))
        result = await compare_storages(first, second)
        assert result.shown == [
            "agent 'both', interaction 1: id and timestamp differ",
            "state of agent 'both': version differs",
            "learning data 'k' of agent 'both': only in the second",
            "agent 'only', interaction 1: only in the first",
            "system state 's': only in the first",
            "system state 't': only in the second",
        ]
        assert result.differences == 6
        assert not result.equal


@pytest.mark.asyncio
async def test_many_differences_are_counted_and_the_first_are_shown() -> None:
    async with MemoryStorage() as first, MemoryStorage() as second:
        await first.store_interactions("a", [{"n": n} for n in range(100)])
        result = await compare_storages(first, second)
        assert (result.differences, len(result.shown)) == (100, SHOWN)


@pytest.mark.asyncio
async def test_an_agent_without_anything_is_no_difference() -> None:
    async with MemoryStorage() as first, MemoryStorage() as second:
        await first.store_interaction("a", {})
        await first.delete_interactions("a", keep_last=0)
        await copy_storage(first, second)
        await same(first, second)


@pytest.mark.asyncio
async def test_a_copy_goes_on_after_the_last_record_that_remained() -> None:
    """As docs/guarantees.md says: the head of the original is not carried over."""
    async with MemoryStorage() as source, MemoryStorage() as target:
        for number in (1, 2, 3):
            await source.store_interaction("a", {"n": number}, interaction_id=str(number))
        await source.store_interaction("gone", {}, interaction_id="x")
        await source.delete_interactions("a", ids=["3"])
        await source.delete_interactions("gone", ids=["x"])
        await copy_storage(source, target)
        for storage, sequence in ((source, 4), (target, 3)):
            await storage.store_interaction("a", {"n": 4})
            assert [one.sequence async for one in storage.iter_interactions("a", after=2)] == [sequence]
        assert await source.list_agents() == ["a", "gone"]
        assert await target.list_agents() == ["a"]
