"""Watching: nothing acknowledged is skipped or repeated, whatever happens to signals, loops and iterators."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryEngine, MemoryStore, damage_record
from oacp_storage_core import CorruptDataError, Interaction, StorageClosedError
from oacp_storage_engine import NotApplied, Page, log_iterators
from oacp_storage_engine.watch_hub import Subscription, WatchHub
from virtual_loop import START, VirtualLoop, run


async def store(storage: FakeStorage, *numbers: int) -> None:
    for n in numbers:
        await storage.store_interaction("ann", {"n": n})


async def take(watching: AsyncIterator[Interaction], count: int) -> list[int]:
    async with asyncio.timeout(60):
        return [(await anext(watching)).data["n"] for _ in range(count)]


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers look again after a while even without a signal; here signals alone must do."""
    monkeypatch.setattr(log_iterators, "_RECHECK", 1e9)


def test_it_begins_after_its_cursor_and_goes_on_live() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await store(storage, 1, 2, 3)
            watching = storage.watch_interactions("ann", after=1)
            assert await take(watching, 2) == [2, 3]
            waiting = asyncio.ensure_future(take(watching, 3))
            await asyncio.sleep(1)
            await store(storage, 4, 5, 6)
            assert await waiting == [4, 5, 6]

    run(main())


def test_without_a_cursor_it_begins_at_the_head_of_its_first_step() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await store(storage, 1)
            watching = storage.watch_interactions("ann")
            await store(storage, 2)
            waiting = asyncio.ensure_future(take(watching, 2))
            await asyncio.sleep(1)
            await store(storage, 3, 4)
            assert await waiting == [3, 4]

    run(main())


@pytest.mark.parametrize("turns", range(12))
def test_what_is_stored_while_it_reads_is_not_missed(turns: int) -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await storage.open()
            waiting = asyncio.ensure_future(take(storage.watch_interactions("ann", after=0), 1))
            for _ in range(turns):
                await asyncio.sleep(0)
            await store(storage, 1)
            assert await waiting == [1]

    run(main())


def test_it_hears_of_other_processes() -> None:
    async def main() -> None:
        shared = MemoryStore()
        async with FakeStorage(shared) as here, FakeStorage(shared) as there:
            waiting = asyncio.ensure_future(take(here.watch_interactions("ann", after=0), 2))
            await asyncio.sleep(1)
            await store(there, 1, 2)
            assert await waiting == [1, 2]

    run(main())


class Breaking(MemoryEngine):
    """Its signals break each time after so many, in a way that no engine should."""

    def signals(self) -> AsyncGenerator[str | None, None]:
        return self._break()

    async def _break(self) -> AsyncGenerator[str | None, None]:
        yield None
        await asyncio.sleep(5)
        self.calls.append("signals broke")
        raise self.error

    error: Exception = NotApplied("connection reset")


@pytest.mark.parametrize("error", [NotApplied("connection reset"), RuntimeError("password=secret")])
def test_broken_signals_lose_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    class Storage(FakeStorage):
        def _make_engine(self) -> MemoryEngine:
            engine = Breaking(self.store)
            engine.error = error
            self.engines.append(engine)
            return engine

    async def main() -> None:
        shared = MemoryStore()
        async with Storage(shared) as here, FakeStorage(shared) as there:
            waiting = asyncio.ensure_future(take(here.watch_interactions("ann", after=0), 3))
            for n in range(3):
                await asyncio.sleep(3)
                await store(there, n)
            assert await waiting == [0, 1, 2]
            await asyncio.sleep(60)
            assert here.engines[0].calls.count("signals broke") >= 2

    with caplog.at_level(logging.WARNING, "oacp_storage_engine.watch_hub"):
        run(main())
    assert "was interrupted and goes on" in caplog.text
    assert "secret" not in caplog.text


def test_a_storm_of_outages_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Away(MemoryEngine):
        async def signals(self) -> AsyncGenerator[str | None, None]:
            if not self.abandoned:
                raise NotApplied("away")
            yield None

    async def main() -> None:
        hub = WatchHub(Away())
        owner = FakeStorage()
        hub.subscribe(owner, "ann")
        hub.listen()
        await asyncio.sleep(600)
        await hub.close(1)

    with caplog.at_level(logging.WARNING, "oacp_storage_engine.watch_hub"):
        run(main())
    assert len(caplog.records) == 1


def test_it_goes_on_in_a_new_loop() -> None:
    storage = FakeStorage()
    watching = storage.watch_interactions("ann", after=0)

    async def part(n: int) -> None:
        waiting = asyncio.ensure_future(take(watching, 1))
        await asyncio.sleep(1)
        await store(storage, n)
        assert await waiting == [n]

    for n in range(3):
        run(part(n))
    assert len(storage.engines) == 3


def test_buffered_interactions_survive_a_new_loop() -> None:
    storage = FakeStorage()
    watching = storage.watch_interactions("ann", after=0)

    async def first() -> None:
        await store(storage, 1, 2, 3)
        assert await take(watching, 1) == [1]

    async def second() -> None:
        await store(storage, 4)
        assert await take(watching, 3) == [2, 3, 4]

    run(first())
    run(second())


def test_deleted_interactions_are_passed_over() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await store(storage, *range(1, 11))
            watching = storage.watch_interactions("ann", after=2)
            await storage.delete_interactions("ann", keep_last=3)
            assert await take(watching, 3) == [8, 9, 10]
            await storage.delete_agent("ann")
            waiting = asyncio.ensure_future(take(watching, 1))
            await asyncio.sleep(1)
            await store(storage, 11)
            assert await waiting == [11]

    run(main())


def test_pages_without_a_record_are_no_end() -> None:
    class Sparse(MemoryEngine):
        """Looks at three sequences a page, whether there is anything or not."""

        async def read_log(self, agent: str, low: int, high: int | None, **options: Any) -> Page:
            page = await super().read_log(agent, low, low + 4, **options)
            return page._replace(next=low + 3 if low + 3 < page.head else None)

    class Storage(FakeStorage):
        def _make_engine(self) -> MemoryEngine:
            return Sparse(self.store)

    async def main() -> None:
        async with FakeStorage() as full, Storage(full.store) as storage:
            await store(full, *range(1, 31))
            await full.delete_interactions("ann", keep_last=2)
            watching = storage.watch_interactions("ann", after=0)
            assert await take(watching, 2) == [29, 30]

    run(main())


def test_damage_is_raised_once_and_passed() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await store(storage, 1, 2, 3)
            damage_record(storage.store.tenant(), "ann", 2, body=b'{"n":9}')
            watching = storage.watch_interactions("ann", after=0)
            assert await take(watching, 1) == [1]
            with pytest.raises(CorruptDataError):
                await anext(watching)
            assert await take(watching, 1) == [3]

    run(main())


def test_a_cancelled_step_loses_nothing() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            watching = storage.watch_interactions("ann", after=0)
            seen: list[int] = []
            storing = asyncio.ensure_future(store(storage, *range(50)))
            step = 0
            while len(seen) < 50:
                task: asyncio.Task[list[int]] = asyncio.ensure_future(take(watching, 1))
                for _ in range(step % 9):
                    await asyncio.sleep(0)
                step += 1
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    seen += task.result()
            assert seen == list(range(50))
            await storing

    run(main())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 50])
def test_close_ends_it(turns: int) -> None:
    async def main() -> None:
        storage = FakeStorage()
        await storage.open()
        watching = storage.watch_interactions("ann", after=0)
        waiting = asyncio.ensure_future(take(watching, 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        await storage.close()
        with pytest.raises(StorageClosedError):
            await waiting
        assert asyncio.get_running_loop().time() < START + 1
        assert storage.engines[0].calls[-1] == "close"

    run(main())


# --- who listens ------------------------------------------------------------------------------------------


def listeners(loop: VirtualLoop) -> list[asyncio.Task[Any]]:
    return [
        task for task in loop.tasks if task.get_name() == "oacp-storage watch signals" and not task.done()
    ]


def test_the_store_is_listened_to_only_while_somebody_watches() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with FakeStorage() as storage:
            await store(storage, 1, 2)
            assert not listeners(loop)
            one, other = (storage.watch_interactions("ann", after=0) for _ in range(2))
            await take(one, 1)
            await take(other, 1)
            assert len(listeners(loop)) == 1
            del one
            await asyncio.sleep(1)
            assert len(listeners(loop)) == 1
            del other
            await asyncio.sleep(1)
            assert not listeners(loop)
            again = storage.watch_interactions("ann", after=0)
            await take(again, 1)
            assert len(listeners(loop)) == 1
        assert not listeners(loop)

    run(main())


def test_an_iterator_collected_while_others_are_woken_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A collector runs at any moment, also while the hub goes through its subscriptions."""
    ring = Subscription.ring

    def collect_and_ring(self: Subscription) -> None:
        gc.collect()
        ring(self)

    gc.freeze()  # only what is made from here on is gone through each time
    monkeypatch.setattr(Subscription, "ring", collect_and_ring)

    async def main() -> None:
        async with FakeStorage() as storage:
            await store(storage, 1)
            cycles = [_cycle(storage.watch_interactions("ann", after=0)) for _ in range(5)]
            for cycle in cycles:
                await take(cycle[0], 1)
            kept = storage.watch_interactions("ann", after=1)
            waiting = asyncio.ensure_future(take(kept, 30))
            await asyncio.sleep(1)
            del cycle, cycles
            await store(storage, *range(30))
            assert await waiting == list(range(30))

    try:
        run(main())
    finally:
        gc.unfreeze()


def _cycle(content: object) -> list[Any]:
    cycle: list[Any] = [content]
    cycle.append(cycle)
    return cycle


def test_an_engine_listens_once_at_a_time() -> None:
    class Slow(MemoryEngine):
        listening = 0
        most = 0

        async def signals(self) -> AsyncGenerator[str | None, None]:
            self.listening += 1
            self.most = max(self.most, self.listening)
            try:
                yield None
                await asyncio.sleep(1e6)
            finally:
                await asyncio.sleep(1)
                self.listening -= 1

    async def main() -> None:
        engine = Slow()
        hub = WatchHub(engine)
        for _ in range(5):
            owner = FakeStorage()
            hub.subscribe(owner, "ann")
            hub.listen()
            await asyncio.sleep(0.1)
            del owner
            await asyncio.sleep(0)
        await hub.close(10)
        assert engine.most == 1
        assert engine.listening == 0

    run(main())
