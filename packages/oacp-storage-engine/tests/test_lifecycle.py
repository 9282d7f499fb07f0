"""Opening, closing, event loops that come and go, two at once, forked children."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryStore
from oacp_storage_core import (
    OutcomeUnknownError,
    SchemaVersionError,
    StorageClosedError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUsageError,
)
from oacp_storage_engine import NotApplied, Rejected, Unknown
from scripted_engine import ScriptedEngine, ScriptedStorage, outcome_of
from virtual_loop import START, VirtualLoop, run


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
    monkeypatch.setattr("oacp_storage_engine.storage._ERASE_STEP", 1)

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


# --- event loops ------------------------------------------------------------------------------------------


def test_it_reopens_in_a_new_loop() -> None:
    storage = FakeStorage()
    for n in range(3):
        asyncio.run(_store(storage, n))
    assert payloads(storage) == ['{"n":0}', '{"n":1}', '{"n":2}']
    assert [engine.abandoned for engine in storage.engines] == [True, True, False]
    asyncio.run(storage.close())
    assert storage.engines[-1].abandoned


async def _store(storage: FakeStorage, n: int) -> str:
    return await storage.store_interaction("ann", {"n": n})


def test_two_running_loops_at_once_are_refused() -> None:
    storage = FakeStorage()
    errors: list[object] = []

    def elsewhere() -> None:
        async def calls() -> None:
            errors.append(await outcome_of(storage.store_interaction("ann", {})))
            errors.append(await outcome_of(storage.health()))
            errors.append(await outcome_of(storage.close()))

        asyncio.run(calls())

    async def main() -> None:
        await _store(storage, 1)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        await _store(storage, 2)
        await storage.close()

    asyncio.run(main())
    assert [type(error) for error in errors] == [StorageUsageError] * 3
    assert "SyncStorage" in str(errors[0])
    assert payloads(storage) == ['{"n":1}', '{"n":2}']


def test_a_paused_loop_gives_way_and_may_go_on() -> None:
    storage = FakeStorage()
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    for n, loop in enumerate([one, other, one, other]):
        loop.run_until_complete(_store(storage, n))
    for loop in (one, other):
        loop.close()
    assert payloads(storage) == [f'{{"n":{n}}}' for n in range(4)]


def test_calls_of_a_paused_loop_end_when_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oacp_storage_engine.group_commit.MAX_QUEUED_UNITS", 1)
    engines = [ScriptedEngine(10.0), ScriptedEngine()]
    storage = ScriptedStorage(*engines)
    paused, other = VirtualLoop(), VirtualLoop()
    sent = paused.create_task(outcome_of(_store(storage, 1)))
    paused.run_until_complete(asyncio.sleep(1))
    queued = paused.create_task(outcome_of(_store(storage, 2)))
    watching = paused.create_task(outcome_of(_next(storage)))
    paused.run_until_complete(asyncio.sleep(1))
    waiting = paused.create_task(outcome_of(_store(storage, 3)))
    reading = paused.create_task(outcome_of(storage.get_interactions("ann")))
    paused.run_until_complete(asyncio.sleep(0))
    other.run_until_complete(_store(storage, 4))
    other.close()
    # Only now does the first loop get to know that its connection was taken away.
    calls = asyncio.gather(sent, queued, waiting, reading)
    errors = paused.run_until_complete(asyncio.wait_for(calls, 1))
    assert [type(error) for error in errors[:3]] == [
        OutcomeUnknownError,
        StorageUsageError,
        StorageUsageError,
    ]
    assert isinstance(errors[3], StorageUsageError | list)
    assert engines[0].abandoned
    watching.cancel()
    paused.run_until_complete(asyncio.wait([watching]))
    paused.close()
    assert not paused.reports


@pytest.mark.parametrize("what", ["opening", "closing"])
def test_a_loop_paused_while_opening_or_closing(what: str) -> None:
    engines = [ScriptedEngine(), ScriptedEngine()]
    engines[0].open_seconds = engines[0].close_seconds = 5.0
    storage = ScriptedStorage(*engines)
    paused, other = VirtualLoop(), VirtualLoop()
    calls = [paused.create_task(outcome_of(_store(storage, n))) for n in range(3)]
    if what == "closing":
        paused.run_until_complete(asyncio.wait(calls))
        calls = [paused.create_task(outcome_of(storage.close()))]
    paused.run_until_complete(asyncio.sleep(1))
    outcome = other.run_until_complete(outcome_of(_store(storage, 4)))
    assert isinstance(outcome, str if what == "opening" else StorageClosedError)
    other.close()
    done = paused.run_until_complete(asyncio.wait_for(asyncio.gather(*calls), 10))
    if what == "opening":
        assert [type(error) for error in done] == [StorageUsageError] * 3
        assert engines[0].abandoned
        assert "close" not in engines[0].calls
    else:
        assert engines[0].calls[-1] == "close"
    paused.close()
    assert not paused.reports


def test_a_read_of_a_paused_loop_is_not_repeated_for_ever() -> None:
    class Away(ScriptedEngine):
        async def read_docs(self, *arguments: Any, **options: Any) -> Any:
            raise NotApplied("away")

    storage = ScriptedStorage(Away(), ScriptedEngine())
    paused, other = VirtualLoop(), VirtualLoop()
    reading = paused.create_task(outcome_of(storage.get_agent_state("ann")))
    paused.run_until_complete(asyncio.sleep(1))
    other.run_until_complete(_store(storage, 1))
    other.close()
    assert isinstance(paused.run_until_complete(asyncio.wait_for(reading, 2)), StorageUsageError)
    paused.close()


async def _next(storage: FakeStorage) -> Any:
    return await anext(storage.watch_interactions("ann"))


# --- forked children --------------------------------------------------------------------------------------

FORKING = """
import asyncio, os, sys, threading
from memory_engine import FakeStorage

storage = FakeStorage()

async def store(n):
    return await storage.store_interaction("ann", {"n": n})

def child():
    asyncio.run(store(2))
    assert [e.abandoned for e in storage.engines] == [True, False], storage.engines
    assert [r.body for r in storage.store.tenant().logs["ann"].values()] == [b'{"n":1}', b'{"n":2}']
    asyncio.run(storage.close())
    print("child done", flush=True)

async def parent():
    await store(1)
    lock = storage._lifecycle._guard()
    held, go = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()  # the loop runs, and another thread holds the lock
    if pid == 0:
        try:
            child()
        except BaseException as exc:
            print(repr(exc), flush=True)
            os._exit(1)
        os._exit(0)
    go.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    await store(3)
    await storage.close()
    assert [r.body for r in storage.store.tenant().logs["ann"].values()] == [b'{"n":1}', b'{"n":3}']
    print("parent done")

asyncio.run(parent())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_reopens_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.split("\n") == ["child done", "parent done", ""]
    assert "Traceback" not in done.stderr


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
