"""Reading a log: pages, the head seen first, damage that can be passed, conditions across pages, counting."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryEngine, damage_record
from oacp_storage_core import CorruptDataError, Interaction
from oacp_storage_engine import Hint, Page
from oacp_storage_engine.log_iterators import PageSize
from virtual_loop import run

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STREAMED", "COUNTED", "LISTED"):
        monkeypatch.setattr(f"oacp_storage_engine.interactions.{name}", PageSize(10, 1000))
    monkeypatch.setattr("oacp_storage_engine.log_iterators.STREAMED", PageSize(10, 1000))


async def filled(count: int, **options: Any) -> FakeStorage:
    storage = FakeStorage(**options)
    records = [
        Interaction("ann", f"id-{n}", 0, NOON + timedelta(minutes=n), {"n": n, "even": n % 2 == 0})
        for n in range(1, count + 1)
    ]
    await storage.store_interactions("ann", records)
    return storage


async def numbers(storage: FakeStorage, **query: Any) -> list[int]:
    return [one.data["n"] async for one in storage.iter_interactions("ann", **query)]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 57])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_log_is_read_whole_by_pages(count: int, reverse: bool) -> None:
    async def main() -> None:
        async with await filled(count) as storage:
            expected = list(range(1, count + 1))
            assert await numbers(storage, reverse=reverse) == (expected[::-1] if reverse else expected)
            assert storage.engines[0].calls.count("read_log") == max(1, -(-count // 10))

    run(main())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"after": 3, "before": 8}, [4, 5, 6, 7]),
        ({"after": 3, "before": 8, "reverse": True}, [7, 6, 5, 4]),
        ({"after": 28}, [29, 30]),
        ({"before": 3}, [1, 2]),
        ({"after": 8, "before": 9}, []),
        ({"after": 99}, []),
        ({"limit": 0}, []),
        ({"limit": 13}, list(range(1, 14))),
        ({"limit": 13, "reverse": True}, list(range(30, 17, -1))),
        ({"since": NOON + timedelta(minutes=12), "until": NOON + timedelta(minutes=15)}, [12, 13, 14]),
        ({"where": {"even": True}}, list(range(2, 31, 2))),
        ({"where": {"even": True}, "limit": 7, "reverse": True}, [30, 28, 26, 24, 22, 20, 18]),
        ({"where": {"n": {"$gt": 25}}, "limit": 3}, [26, 27, 28]),
        ({"where": {"n": 30}, "since": NOON, "after": 5}, [30]),
    ],
)
def test_conditions_hold_across_pages_and_the_limit_comes_after(
    query: dict[str, Any], expected: list[int]
) -> None:
    async def main() -> None:
        async with await filled(30) as storage:
            assert await numbers(storage, **query) == expected

    run(main())


def test_it_ends_at_the_head_seen_with_the_first_page() -> None:
    async def main() -> None:
        async with await filled(25) as storage:
            seen = []
            async for one in storage.iter_interactions("ann"):
                seen.append(one.sequence)
                await storage.store_interaction("ann", {"n": 0})
            assert seen == list(range(1, 26))

    run(main())


async def seen_in(history: Any, most: int = 1000) -> list[int]:
    """The sequences that an iterator gives, negative where it raises damage instead."""
    seen: list[int] = []
    while len(seen) < most:
        try:
            seen.append((await anext(history)).sequence)
        except CorruptDataError as exc:
            seen.append(-(exc.sequence or 0))
        except StopAsyncIteration:
            break
    return seen


@pytest.mark.parametrize("reverse", [False, True])
def test_damage_is_raised_in_its_place_and_the_iteration_goes_on(reverse: bool) -> None:
    async def main() -> None:
        async with await filled(25) as storage:
            for sequence in (1, 10, 11, 25):
                damage_record(storage.store.tenant(), "ann", sequence, body=b'{"n":0,"even":true}')
            history = storage.iter_interactions("ann", reverse=reverse, where={"n": {"$exists": True}})
            seen = await seen_in(history)
            expected = [-n if n in (1, 10, 11, 25) else n for n in range(1, 26)]
            assert seen == (expected[::-1] if reverse else expected)
            with pytest.raises(CorruptDataError):
                await storage.get_interactions("ann", 5)
            with pytest.raises(CorruptDataError):
                await storage.get_interaction("ann", "id-1")

    run(main())


def test_what_a_damaged_store_gives_twice_is_not_taken_for_the_log() -> None:
    async def main() -> None:
        async with await filled(6) as storage:
            log = storage.store.tenant().logs["ann"]
            log[5] = log[2]
            assert await seen_in(storage.iter_interactions("ann")) == [1, 2, 3, 4, -2, 6]
            assert await seen_in(storage.watch_interactions("ann", after=0), 6) == [1, 2, 3, 4, -2, 6]
            log[5] = log[6]
            assert await seen_in(storage.iter_interactions("ann", reverse=True)) == [6, -6, 4, 3, 2, 1]

    run(main())


def test_a_failed_page_is_read_again_when_the_iteration_goes_on() -> None:
    async def main() -> None:
        async with await filled(25) as storage:
            engine = storage.engines[0]
            history = storage.iter_interactions("ann")
            seen = [(await anext(history)).sequence for _ in range(10)]
            task = asyncio.ensure_future(anext(history))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            seen += [one.sequence async for one in history]
            assert seen == list(range(1, 26))
            assert engine.calls.count("read_log") == 4

    run(main())


def test_a_store_may_leave_out_sure_misses_and_return_empty_pages() -> None:
    class Sparse(MemoryEngine):
        """Filters by time itself, and looks at ten records a page."""

        hints: list[Hint | None] = []  # noqa: RUF012 - one engine in this test

        async def read_log(self, agent: str, low: int, high: int | None, **options: Any) -> Page:
            hint = options.pop("hint")
            self.hints.append(hint)
            page = await super().read_log(agent, low, high, **options)
            if hint is None:
                return page
            kept = [one for one in page.records if hint.since_us is None or one.at_us >= hint.since_us]
            return page._replace(records=kept)

    class Storage(FakeStorage):
        def _make_engine(self) -> MemoryEngine:
            engine = Sparse(self.store)
            self.engines.append(engine)
            return engine

    async def main() -> None:
        async with await filled(40) as full, Storage(full.store) as storage:
            late = NOON + timedelta(minutes=38)
            assert await numbers(storage, since=late) == [38, 39, 40]
            assert await numbers(storage, since=late, limit=1) == [38]
            assert await numbers(storage, after=1) == list(range(2, 41))
            engine = storage.engines[0]
            assert isinstance(engine, Sparse)
            assert None in engine.hints
            assert any(hint is not None and hint.since_us is not None for hint in engine.hints)

    run(main())


def test_other_tasks_get_their_turn_within_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oacp_storage_engine.interactions.LISTED", PageSize(10_000, 10**9))

    async def main() -> None:
        async with await filled(100) as storage:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            task = asyncio.ensure_future(other())
            before = len(storage.engines[0].calls)
            assert len(await storage.get_interactions("ann", 100)) == 100
            assert len(storage.engines[0].calls) == before + 1
            assert turns >= 9
            task.cancel()

    run(main())


def test_get_interactions_returns_the_newest_oldest_first() -> None:
    async def main() -> None:
        async with await filled(25) as storage:
            assert [one["n"] for one in await storage.get_interactions("ann", 3)] == [23, 24, 25]
            assert [one["n"] for one in await storage.get_interactions("ann", 15)] == list(range(11, 26))
            assert await storage.get_interactions("ann", 0) == []
            assert await storage.get_interactions("nobody") == []
            with pytest.raises(ValueError, match="negative"):
                await storage.get_interactions("ann", -1)

    run(main())


@pytest.mark.parametrize("counts", [False, True])
def test_counting_uses_the_store_where_it_can(counts: bool) -> None:
    class Counting(MemoryEngine):
        async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
            self.calls.append("count")
            return sum(low < one < (high or 10**9) for one in self.tenant.logs[agent]) if counts else None

    class Storage(FakeStorage):
        def _make_engine(self) -> MemoryEngine:
            engine = Counting(self.store)
            self.engines.append(engine)
            return engine

    async def main() -> None:
        async with await filled(33) as full, Storage(full.store) as storage:
            assert await storage.count_interactions("ann") == 33
            assert await storage.count_interactions("ann", after=3, before=30) == 26
            reads = storage.engines[0].calls.count("read_log")
            assert (reads == 0) == counts
            assert await storage.count_interactions("ann", where={"even": True}) == 16
            assert storage.engines[0].calls.count("count") == 2

    run(main())
