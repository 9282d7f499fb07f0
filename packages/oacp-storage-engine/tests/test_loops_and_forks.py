"""Event loops that come and go, two at once, one that is paused, and forked children."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from memory_engine import FakeStorage
from oacp_storage_core import (
    OutcomeUnknownError,
    StorageClosedError,
    StorageUsageError,
)
from oacp_storage_engine import NotApplied
from scripted_engine import ScriptedEngine, ScriptedStorage, outcome_of
from virtual_loop import VirtualLoop


def payloads(storage: FakeStorage) -> list[str]:
    log = storage.store.tenant().logs.get("ann", {})
    return [record.body.decode() for record in log.values()]


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
