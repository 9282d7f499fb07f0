"""Importing: exactly once however often and however interrupted, in order, with the malformed lines named."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from oacp_storage import importing
from oacp_storage.importing import SHOWN, ImportSummary, import_lines
from oacp_storage.lines import Line
from oacp_storage_core import (
    Capability,
    Interaction,
    MemoryStorage,
    StorageTimeoutError,
    StorageWrapper,
    Turn,
    UnsupportedOperationError,
)

NOW = datetime(2025, 1, 31, tzinfo=UTC)


def lines(items: Iterable[dict[str, Any] | str]) -> Iterator[Line]:
    for number, item in enumerate(items, start=1):
        yield Line(number, (item if isinstance(item, str) else json.dumps(item)).encode())


def said(agent: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"agent_id": agent, "interaction": {"n": number}, **fields}


async def do_import(storage: Any, items: Iterable[dict[str, Any] | str], **options: Any) -> ImportSummary:
    return await import_lines(storage, lines(items), default_time=NOW, **options)


async def numbers(storage: Any, agent: str) -> list[int]:
    return [one["n"] for one in await storage.get_interactions(agent, limit=10_000)]


def counts(summary: ImportSummary) -> tuple[int, int, int, int]:
    return summary.lines, summary.added, summary.already_there, summary.malformed


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "WINDOW_LINES", 7)


@pytest.mark.asyncio
async def test_every_line_is_stored_in_the_order_of_its_agent(small_windows: None) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    agents = random.Random(seed).choices("abcdefg", k=300)
    async with MemoryStorage() as storage:
        summary = await do_import(storage, [said(agent, place) for place, agent in enumerate(agents)])
        assert counts(summary) == (300, 300, 0, 0)
        for agent in set(agents):
            expected = [place for place, one in enumerate(agents) if one == agent]
            assert await numbers(storage, agent) == expected
            history = [one async for one in storage.iter_interactions(agent)]
            assert [one.sequence for one in history] == list(range(1, len(expected) + 1))
            assert {one.timestamp for one in history} == {NOW}


@pytest.mark.asyncio
async def test_ids_and_times_are_kept() -> None:
    async with MemoryStorage() as storage:
        await do_import(storage, [said("a", 1, id="mine", timestamp="2024-05-05T05:05:05.000005Z")])
        kept = await storage.get_interaction("a", "mine")
        assert kept == Interaction("a", "mine", 1, datetime(2024, 5, 5, 5, 5, 5, 5, tzinfo=UTC), {"n": 1})


@pytest.mark.asyncio
async def test_importing_again_adds_nothing(small_windows: None) -> None:
    items = [said("ab"[place % 2], place) for place in range(50)]
    async with MemoryStorage() as storage:
        assert counts(await do_import(storage, items)) == (50, 50, 0, 0)
        assert counts(await do_import(storage, items)) == (50, 0, 50, 0)
        assert await numbers(storage, "a") == list(range(0, 50, 2))


@pytest.mark.asyncio
@pytest.mark.parametrize("there", [0, 1, 6, 7, 8, 20, 31, 49, 50])
async def test_importing_a_longer_file_adds_the_rest(there: int, small_windows: None) -> None:
    items = [said("a", place) for place in range(50)]
    async with MemoryStorage() as storage:
        await do_import(storage, items[:there])
        assert counts(await do_import(storage, items)) == (50, 50 - there, there, 0)
        assert await numbers(storage, "a") == list(range(50))


@pytest.mark.asyncio
async def test_equal_lines_are_different_interactions_unless_they_have_an_id() -> None:
    async with MemoryStorage() as storage:
        assert counts(await do_import(storage, [said("a", 1)] * 3)) == (3, 3, 0, 0)
        assert counts(await do_import(storage, [said("b", 1, id="same")] * 3)) == (3, 1, 2, 0)


@pytest.mark.asyncio
async def test_an_id_that_is_taken_is_reported_with_its_line() -> None:
    async with MemoryStorage() as storage:
        await storage.store_interaction("a", {"n": 0}, interaction_id="taken")
        items = [
            said("a", 1),
            said("a", 2, id="taken"),
            said("a", 3),
            said("a", 4, id="x"),
            said("a", 5, id="x"),
        ]
        summary = await do_import(storage, items)
        assert counts(summary) == (5, 3, 0, 2)
        assert [number for number, _ in summary.reasons] == [2, 5]
        assert summary.reasons[0][1] == "the id 'taken' belongs to another interaction of 'a' already"
        assert await numbers(storage, "a") == [0, 1, 3, 4]


APPENDING = [{Capability.TURN}, {Capability.BATCH_APPEND}, {Capability.IDEMPOTENT_APPEND}]


@pytest.mark.asyncio
@pytest.mark.parametrize("by", APPENDING, ids=["turn", "batch", "single"])
@pytest.mark.parametrize("history", [True, False])
async def test_every_way_to_append_will_do(by: set[Capability], history: bool, small_windows: None) -> None:
    class Lesser(StorageWrapper):
        declares = frozenset({*by, *({Capability.HISTORY} if history else ())})

    taken = {**said("b", 0), "id": "taken"}
    items = [said("a", place) for place in range(20)] + [said("c", 1, id="same")] * 2
    async with MemoryStorage() as memory:
        await memory.store_interaction("b", {"n": 9}, interaction_id="taken")
        first = await do_import(Lesser(memory), [*items, taken])
        again = await do_import(Lesser(memory), [*items, taken, said("a", 99)])
        assert first.reasons == [(23, "the id 'taken' belongs to another interaction of 'b' already")]
        if history or by == {Capability.TURN}:
            assert (counts(first), first.there_now) == ((23, 21, 1, 1), 0)
            assert (counts(again), again.there_now) == ((24, 1, 22, 1), 0)
        else:
            assert (counts(first), first.there_now) == ((23, 0, 0, 1), 22)
            assert (counts(again), again.there_now) == ((24, 0, 0, 1), 23)
        assert await numbers(memory, "a") == [*range(20), 99]
        assert [one.timestamp async for one in memory.iter_interactions("c")] == [NOW]


@pytest.mark.asyncio
async def test_a_storage_that_knows_no_ids_is_refused() -> None:
    class Least(StorageWrapper):
        declares = frozenset({Capability.HISTORY})

    async with MemoryStorage() as memory:
        with pytest.raises(UnsupportedOperationError, match="IDEMPOTENT_APPEND"):
            await do_import(Least(memory), [said("a", 1)])
        assert await numbers(memory, "a") == []


@pytest.mark.asyncio
async def test_malformed_lines_are_counted_and_the_first_are_named(small_windows: None) -> None:
    items: list[dict[str, Any] | str] = [said("a", place) if place % 2 else "garbage" for place in range(100)]
    async with MemoryStorage() as storage:
        summary = await do_import(storage, items)
        assert counts(summary) == (100, 50, 0, 50)
        assert [number for number, _ in summary.reasons] == list(range(1, 2 * SHOWN, 2))
        assert await numbers(storage, "a") == list(range(1, 100, 2))


@pytest.mark.asyncio
async def test_strict_stops_at_the_first_and_keeps_what_came_before(small_windows: None) -> None:
    items: list[dict[str, Any] | str] = [said("a", 1), said("b", 2), "garbage", said("a", 3), "garbage"]
    async with MemoryStorage() as storage:
        summary = await do_import(storage, items, strict=True)
        assert counts(summary) == (3, 2, 0, 1)
        assert summary.reasons[0][0] == 3
        assert await numbers(storage, "a") == [1]


@pytest.mark.asyncio
async def test_progress_is_told_for_each_window(small_windows: None) -> None:
    seen: list[int] = []
    async with MemoryStorage() as storage:
        await do_import(
            storage,
            [said("a", place) for place in range(20)],
            progress=lambda summary: seen.append(summary.lines),
        )
    assert seen == [7, 14, 20]


@pytest.mark.asyncio
async def test_windows_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "WINDOW_BYTES", 10_000)
    seen: list[int] = []
    async with MemoryStorage() as storage:
        items = [{"agent_id": "a", "interaction": {"text": "x" * 4_000}} for _ in range(7)]
        await do_import(storage, items, progress=lambda summary: seen.append(summary.lines))
    assert seen == [3, 6, 7]


class Failing(StorageWrapper):
    """Fails once, at the given call of ``record_turn``."""

    calls = 0
    at = 0

    async def record_turn(self, agent_id: str, **keywords: Any) -> Turn:
        self.calls += 1
        if self.calls == self.at:
            raise StorageTimeoutError("the server did not answer in time")
        return await super().record_turn(agent_id, **keywords)


@pytest.mark.asyncio
@pytest.mark.parametrize("at", [1, 2, 5, 9, 30])
async def test_a_failure_is_raised_as_it_is_and_the_import_goes_on_when_run_again(
    at: int, small_windows: None
) -> None:
    items = [said("abc"[place % 3], place) for place in range(100)]
    async with MemoryStorage() as memory:
        storage = Failing(memory)
        storage.at = at
        with pytest.raises(StorageTimeoutError):
            await do_import(storage, items)
        stored = sum([len(await numbers(memory, agent)) for agent in "abc"])
        assert counts(await do_import(storage, items)) == (100, 100 - stored, stored, 0)
        for start, agent in enumerate("abc"):
            assert await numbers(memory, agent) == list(range(start, 100, 3))


@pytest.mark.asyncio
async def test_two_imports_of_one_file_at_once_make_one(small_windows: None) -> None:
    import asyncio

    items = [said("ab"[place % 2], place) for place in range(60)]
    async with MemoryStorage() as storage:
        one, other = await asyncio.gather(do_import(storage, items), do_import(storage, items))
        assert one.added + other.added == 60
        assert one.already_there + other.already_there == 60
        assert await numbers(storage, "a") == list(range(0, 60, 2))
