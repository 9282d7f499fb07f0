"""``MemoryStorage``: watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from oacp_storage_core import Document, MemoryStorage, StorageClosedError
from oacp_storage_core.memory_store import Namespace

SOON = 5.0
"""Seconds after which a test that waits for something gives up."""


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    async with MemoryStorage() as storage:
        yield storage


async def take(watch: AsyncIterator[Any], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(watch), SOON)).sequence for _ in range(count)]


async def waiting(watch: AsyncIterator[Any]) -> asyncio.Task[Any]:
    """A task that waits for the next interaction, and has got as far as waiting."""
    task = asyncio.ensure_future(asyncio.wait_for(anext(watch), SOON))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


@pytest.mark.asyncio
async def test_everything_after_a_sequence_and_then_live(storage: MemoryStorage) -> None:
    for n in range(4):
        await storage.store_interaction("a", {"n": n})
    watch = storage.watch_interactions("a", after=1)
    assert await take(watch, 3) == [2, 3, 4]
    task = await waiting(watch)
    await storage.store_interaction("a", {"n": 4})
    found = await task
    assert (found.sequence, found.data) == (5, {"n": 4})
    assert await take(storage.watch_interactions("a", after=0), 5) == [1, 2, 3, 4, 5]


@pytest.mark.asyncio
async def test_without_after_it_starts_at_the_head_of_the_first_step(storage: MemoryStorage) -> None:
    await storage.store_interaction("a", {})
    watch = storage.watch_interactions("a")
    await storage.store_interaction("a", {})
    task = await waiting(watch)
    await storage.store_interaction("a", {})
    await storage.store_interaction("a", {})
    assert (await task).sequence == 3
    assert await take(watch, 1) == [4]


@pytest.mark.asyncio
async def test_an_agent_may_be_watched_before_it_exists(storage: MemoryStorage) -> None:
    watch = storage.watch_interactions("a")
    task = await waiting(watch)
    assert await storage.list_agents() == []
    await storage.store_interaction("b", {})
    await storage.store_agent_state("a", {})
    assert not task.done()
    await storage.store_interaction("a", {})
    assert (await task).sequence == 1


@pytest.mark.asyncio
async def test_every_way_to_append_wakes(storage: MemoryStorage) -> None:
    watch = storage.watch_interactions("a")
    task = await waiting(watch)
    await storage.store_interactions("a", [{}, {}])
    assert (await task).sequence == 1
    assert await take(watch, 1) == [2]
    task = await waiting(watch)
    await storage.record_turn("a", interactions=[{}])
    assert (await task).sequence == 3
    task = await waiting(watch)
    async with MemoryStorage() as other:
        await other.store_interactions("a", [{}] * 9)
        records = [one async for one in other.iter_interactions("a", after=6)]
    await storage.import_records("a", interactions=records, state=Document("", {}, 1, datetime.now(UTC)))
    assert (await task).sequence == 7, "holes of an import are passed over"


@pytest.mark.asyncio
async def test_deleted_interactions_are_passed_over(storage: MemoryStorage) -> None:
    ids = await storage.store_interactions("a", [{}] * 5)
    watch = storage.watch_interactions("a", after=0)
    assert await take(watch, 1) == [1]
    await storage.delete_interactions("a", ids=[ids[1], ids[3]])
    assert await take(watch, 2) == [3, 5]


@pytest.mark.asyncio
async def test_cursors_stay_valid_when_the_agent_comes_again(storage: MemoryStorage) -> None:
    await storage.store_interactions("a", [{}] * 3)
    after_two = storage.watch_interactions("a", after=2)
    from_now = storage.watch_interactions("a")
    task = await waiting(from_now)
    await storage.delete_agent("a")
    later = storage.watch_interactions("a")
    task_later = await waiting(later)
    await storage.store_interaction("a", {})
    assert (await task).sequence == 4
    assert (await task_later).sequence == 4
    assert await take(after_two, 1) == [4]


@pytest.mark.asyncio
async def test_after_beyond_the_head_waits_for_it(storage: MemoryStorage) -> None:
    watch = storage.watch_interactions("a", after=2)
    task = await waiting(watch)
    for _ in range(3):
        await storage.store_interaction("a", {})
    assert (await task).sequence == 3


@pytest.mark.asyncio
async def test_a_cancelled_step_loses_nothing(storage: MemoryStorage) -> None:
    watch = storage.watch_interactions("a", after=0)
    for n in range(1, 20):
        task = asyncio.ensure_future(anext(watch))
        for _ in range(n % 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            pytest.fail("there was nothing to deliver yet")
    await storage.store_interactions("a", [{}] * 50)
    seen: list[int] = []
    while len(seen) < 50:
        task = asyncio.ensure_future(anext(watch))
        for _ in range(len(seen) % 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        seen += [task.result().sequence] if not task.cancelled() else await take(watch, 1)
    assert seen == list(range(1, 51))


@pytest.mark.asyncio
async def test_many_watchers_and_writers_miss_nothing(storage: MemoryStorage) -> None:
    watches = [storage.watch_interactions("a", after=0) for _ in range(5)]
    readers = [asyncio.ensure_future(take(watch, 200)) for watch in watches]

    async def write() -> None:
        for _ in range(20):
            await storage.store_interaction("a", {})

    await asyncio.gather(*(write() for _ in range(10)))
    for reader in readers:
        assert await reader == list(range(1, 201))


@pytest.mark.asyncio
async def test_instances_of_one_name_wake_each_other() -> None:
    one, other = MemoryStorage("watched"), MemoryStorage("watched")
    try:
        task = await waiting(one.watch_interactions("a"))
        await other.store_interaction("a", {})
        assert (await task).sequence == 1
        task = await waiting(one.watch_interactions("a"))
        await other.close()
        await asyncio.sleep(0)
        assert not task.done(), "closing one instance ends only its own watches"
        await one.close()
        with pytest.raises(StorageClosedError):
            await task
    finally:
        await one.close()
        await other.close()
        MemoryStorage.forget("watched")


@pytest.mark.asyncio
async def test_close_ends_watching() -> None:
    storage = MemoryStorage()
    await storage.store_interactions("a", [{}] * 2)
    behind = storage.watch_interactions("a", after=0)
    await take(behind, 1)
    tasks = [await waiting(storage.watch_interactions("a")) for _ in range(3)]
    await storage.close()
    for task in tasks:
        with pytest.raises(StorageClosedError):
            await task
    for _ in range(2):
        with pytest.raises(StorageClosedError):
            await anext(behind)


@pytest.mark.asyncio
async def test_watches_that_ended_leave_nothing_behind(storage: MemoryStorage) -> None:
    data = vars(storage)["_data"]
    assert isinstance(data, Namespace)
    watch = storage.watch_interactions("a")
    for _ in range(3):
        task = await waiting(watch)
        assert len(data.bells) == 1
        task.cancel()
        await asyncio.wait([task])
    assert not data.bells


@pytest.mark.parametrize("after", [-1, "x", None, True])
@pytest.mark.asyncio
async def test_after_is_a_sequence(storage: MemoryStorage, after: Any) -> None:
    if after is None:
        storage.watch_interactions("a", after=None)
    else:
        with pytest.raises((ValueError, TypeError), match="after must"):
            storage.watch_interactions("a", after=after)
