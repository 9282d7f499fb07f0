"""Opening and closing: once, in order, in time, and whatever is under way meanwhile."""

import asyncio
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryStore
from oacp_storage_core import (
    SchemaVersionError,
    StorageClosedError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
)
from oacp_storage_engine import NotApplied, Rejected, Unknown
from scripted_engine import ScriptedEngine, ScriptedStorage, outcome_of
from virtual_loop import START, run


def payloads(storage: FakeStorage) -> list[str]:
    log = storage.store.tenant().logs.get("ann", {})
    return [record.body.decode() for record in log.values()]


def now() -> float:
    return asyncio.get_running_loop().time()


# --- opening ----------------------------------------------------------------------------------------------


def test_it_opens_at_the_first_use_and_once() -> None:
    async def main() -> None:
        storage = FakeStorage()
        assert not storage.engines
        await asyncio.gather(*(storage.store_interaction("ann", {}) for _ in range(10)), storage.open())
        async with storage:
            await storage.get_interactions("ann")
        (engine,) = storage.engines
        assert engine.calls.count("open") == 1
        assert engine.calls.count("close") == 1

    run(main())


def test_calls_that_wait_for_opening_commit_in_call_order() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.open_seconds = 1.0
        storage = ScriptedStorage(engine)
        tasks = []
        for n in range(60):
            tasks.append(asyncio.ensure_future(storage.store_interaction("ann", {"n": n})))
            await asyncio.sleep(1.0 / 50)  # some come while it opens, some when it has opened
        await asyncio.gather(*tasks)
        assert [data["n"] for data in await storage.get_interactions("ann")] == list(range(60))

    run(main())


@pytest.mark.parametrize("wait", range(8))
def test_nobody_overtakes_at_the_moment_of_opening(wait: int) -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.open_seconds = 1.0
        storage = ScriptedStorage(engine)
        early = [asyncio.ensure_future(storage.store_interaction("ann", {"n": n})) for n in range(5)]
        await asyncio.sleep(1.0)
        for _ in range(wait):
            await asyncio.sleep(0)
        await asyncio.gather(storage.store_interaction("ann", {"n": 5}), *early)
        assert [data["n"] for data in await storage.get_interactions("ann")] == list(range(6))

    run(main())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (NotApplied("connection refused"), StorageConnectionError),
        (Unknown("connection reset"), StorageConnectionError),
        (StorageConfigError("a standalone"), StorageConfigError),
        (SchemaVersionError("version 9"), SchemaVersionError),
        (Rejected("no"), StorageError),
        (RuntimeError("password=secret"), StorageError),
    ],
)
def test_a_failure_to_open_reaches_each_caller_and_the_next_use_tries_again(
    raised: Exception, expected: type[StorageError]
) -> None:
    async def main() -> None:
        failing, working = ScriptedEngine(), ScriptedEngine()
        failing.open_error, failing.open_seconds = raised, 0.5
        storage = ScriptedStorage(failing, working)
        calls = [storage.store_interaction("ann", {}), storage.get_interactions("ann"), storage.open()]
        errors = await asyncio.gather(*(outcome_of(call) for call in calls))
        assert [type(error) for error in errors] == [expected] * 3
        assert len({id(error) for error in errors}) == 3
        assert all("secret" not in str(error) for error in errors)
        assert failing.calls == ["close"]
        await storage.store_interaction("ann", {})
        await storage.close()

    run(main())


def test_opening_that_hangs_is_given_up_in_time() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.open_seconds = 1e6
        storage = ScriptedStorage(engine, timeout=5.0)
        error = await outcome_of(storage.store_interaction("ann", {}))
        assert isinstance(error, StorageTimeoutError)
        assert now() <= START + 5.1

    run(main())


def test_the_timeout_of_a_call_counts_from_its_beginning() -> None:
    async def main() -> None:
        engine = ScriptedEngine(*[NotApplied("busy")] * 1000)
        engine.open_seconds = 4.0
        storage = ScriptedStorage(engine, timeout=5.0)
        assert isinstance(await outcome_of(storage.store_interaction("ann", {})), StorageTimeoutError)
        assert now() <= START + 5.1
        await storage.close()

    run(main())


def test_an_impatient_caller_leaves_the_opening_to_the_others() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.open_seconds = 1.0
        storage = ScriptedStorage(engine)
        calls = [asyncio.ensure_future(storage.store_interaction("ann", {"n": n})) for n in range(3)]
        await asyncio.sleep(0.5)
        calls[0].cancel()
        await asyncio.wait(calls)
        assert [data["n"] for data in await storage.get_interactions("ann")] == [1, 2]
        assert len(storage.engines) == 1

    run(main())


@pytest.mark.parametrize("turns", range(6))
def test_all_tasks_may_be_cancelled_and_the_storage_used_again(turns: int) -> None:
    """As a program does that shuts its work down and then writes a last word."""

    async def main() -> None:
        storage = FakeStorage()
        calls = [asyncio.ensure_future(storage.store_interaction("ann", {})) for _ in range(3)]
        calls += [asyncio.ensure_future(_next(storage))]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait(calls)
        last = await storage.store_interaction("ann", {"n": "last"})
        assert (await storage.get_interactions("ann", 1))[0] == {"n": "last"}
        watching = asyncio.ensure_future(anext(storage.watch_interactions("ann", after=0)))
        assert (await watching).sequence == 1
        assert last
        await storage.close()

    run(main())


def test_an_interrupted_opening_is_told_to_those_who_wait() -> None:
    async def main() -> None:
        storage = FakeStorage()
        call = asyncio.ensure_future(outcome_of(storage.store_interaction("ann", {})))
        await asyncio.sleep(0)
        (opening,) = asyncio.all_tasks() - {asyncio.current_task(), call}
        opening.cancel()
        assert isinstance(await call, StorageConnectionError)
        await storage.store_interaction("ann", {})
        await storage.close()

    run(main())


# --- closing ----------------------------------------------------------------------------------------------


def test_close_waits_for_what_is_in_flight_and_refuses_what_comes_after() -> None:
    async def main() -> None:
        storage = ScriptedStorage(ScriptedEngine(1.0, 1.0))
        calls = [asyncio.ensure_future(storage.store_interaction("ann", {"n": 0}))]
        await asyncio.sleep(0.5)
        calls += [asyncio.ensure_future(storage.store_interaction("ann", {"n": 1}))]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0.1)
        for call in (
            storage.store_interaction("ann", {}),
            storage.get_interactions("ann"),
            storage.delete_agent("ann"),
            storage.health(),
            storage.open(),
            anext(storage.iter_interactions("ann")),
            anext(storage.watch_interactions("ann")),
            anext(storage.verify()),
        ):
            with pytest.raises(StorageClosedError, match="open a new one"):
                await call
        await closing
        assert all(call.done() for call in calls)
        assert payloads(storage) == ['{"n":0}', '{"n":1}']
        assert storage.engines[0].calls[-1] == "close"
        await storage.close()

    run(main())


def test_close_waits_for_calls_that_wait_for_opening() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.open_seconds = 1.0
        storage = ScriptedStorage(engine)
        call = asyncio.ensure_future(storage.store_interaction("ann", {}))
        await asyncio.sleep(0.5)
        await storage.close()
        assert await call
        assert payloads(storage) == ["{}"]

    run(main())


def test_close_lets_deletions_finish_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oacp_storage_engine.deletions._ERASE_STEP", 1)

    async def main() -> None:
        storage = FakeStorage()
        await storage.store_interactions("ann", [{}] * 20)
        deleting = asyncio.ensure_future(storage.delete_agent("ann"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await storage.close()
        assert (await deleting).interactions == 20

    run(main())


def test_close_without_a_use_and_again_is_fine() -> None:
    async def main() -> None:
        storage = FakeStorage()
        await asyncio.gather(storage.close(), storage.close())
        await storage.close()
        assert not storage.engines
        with pytest.raises(StorageClosedError):
            await storage.open()

    run(main())


def test_every_closer_returns_when_it_is_closed() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.close_seconds = 1.0
        storage = ScriptedStorage(engine)
        await storage.open()
        first = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0.5)
        second = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0.1)
        first.cancel()
        await second
        assert not engine.is_open
        assert engine.calls.count("close") == 1

    run(main())


@pytest.mark.parametrize("opening_fails", [False, True])
def test_close_during_the_opening(opening_fails: bool) -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.open_seconds = 1.0
        engine.open_error = NotApplied("away") if opening_fails else None
        storage = ScriptedStorage(engine)
        opening = asyncio.ensure_future(outcome_of(storage.open()))
        await asyncio.sleep(0.5)
        await storage.close()
        error = await opening
        assert isinstance(error, StorageConnectionError) if opening_fails else error is None
        assert engine.calls[-1] == "close"

    run(main())


def test_an_engine_that_does_not_close_is_dropped() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.close_seconds = 1e6
        storage = ScriptedStorage(engine, timeout=5.0)
        await storage.open()
        with pytest.raises(StorageTimeoutError, match="did not close within 5 s"):
            await storage.close()
        assert engine.abandoned
        await storage.close()

    run(main())


# --- options ----------------------------------------------------------------------------------------------


async def _next(storage: FakeStorage) -> Any:
    return await anext(storage.watch_interactions("ann"))


def test_namespaces_share_a_store_and_nothing_else() -> None:
    async def main() -> None:
        store = MemoryStore()
        one, other = FakeStorage(store), FakeStorage(store, namespace="other")
        await one.store_interaction("ann", {})
        assert await other.list_agents() == []
        with pytest.raises(StorageConfigError):
            FakeStorage(store, namespace="No!")
        await one.close()
        await other.close()

    run(main())


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_must_be_positive(timeout: float) -> None:
    with pytest.raises(StorageConfigError, match="positive"):
        FakeStorage(timeout=timeout)
