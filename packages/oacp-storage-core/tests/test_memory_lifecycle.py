"""``MemoryStorage``: opening and closing, event loops, threads and forks, names and URLs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from oacp_storage_core import (
    Document,
    InvalidPayloadError,
    MemoryStorage,
    StorageClosedError,
    StorageConfigError,
    StorageUsageError,
    create_storage,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a store that nobody else uses."""
    name = "test-memory-lifecycle"
    yield name
    MemoryStorage.forget(name)


async def read_all(stream: Any) -> list[Any]:
    return [one async for one in stream]


# --- open and close --------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[MemoryStorage], Awaitable[Any]]] = {
    "open": lambda s: s.open(),
    "aenter": lambda s: s.__aenter__(),
    "health": lambda s: s.health(),
    "store_interaction": lambda s: s.store_interaction("a", {}),
    "store_interactions": lambda s: s.store_interactions("a", [{}]),
    "store no interactions": lambda s: s.store_interactions("a", []),
    "get_interactions": lambda s: s.get_interactions("a"),
    "get no interactions": lambda s: s.get_interactions("a", 0),
    "iter_interactions": lambda s: read_all(s.iter_interactions("a")),
    "get_interaction": lambda s: s.get_interaction("a", "x"),
    "count_interactions": lambda s: s.count_interactions("a"),
    "watch_interactions": lambda s: anext(s.watch_interactions("a", after=0)),
    "delete_interactions": lambda s: s.delete_interactions("a", keep_last=0),
    "store_agent_state": lambda s: s.store_agent_state("a", {}),
    "get_agent_state": lambda s: s.get_agent_state("a"),
    "get_agent_state_document": lambda s: s.get_agent_state_document("a"),
    "update_agent_state": lambda s: s.update_agent_state("a", lambda data: data),
    "delete_agent_state": lambda s: s.delete_agent_state("a"),
    "store_learning_data": lambda s: s.store_learning_data("a", "k", {}),
    "get_learning_data": lambda s: s.get_learning_data("a", "k"),
    "list_learning_data": lambda s: s.list_learning_data("a"),
    "store_system_state": lambda s: s.store_system_state("k", {}),
    "get_system_state": lambda s: s.get_system_state("k"),
    "list_system_state": lambda s: s.list_system_state(),
    "record_turn": lambda s: s.record_turn("a", interactions=[{}]),
    "list_agents": lambda s: s.list_agents(),
    "delete_agent": lambda s: s.delete_agent("a"),
    "verify": lambda s: read_all(s.verify()),
    "import_records": lambda s: s.import_records("a"),
    "import_system_state": lambda s: s.import_system_state(Document("k", {}, 1, NOW)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.asyncio
async def test_nothing_works_after_close(call: Callable[[MemoryStorage], Awaitable[Any]]) -> None:
    storage = MemoryStorage()
    await storage.store_interaction("a", {})
    await storage.close()
    with pytest.raises(StorageClosedError, match="the storage is closed; open a new one to go on"):
        await call(storage)
    await storage.close()


@pytest.mark.asyncio
async def test_close_may_come_first_and_more_than_once() -> None:
    storage = MemoryStorage()
    await storage.close()
    await asyncio.gather(storage.close(), storage.close())
    with pytest.raises(StorageClosedError):
        await storage.open()


@pytest.mark.asyncio
async def test_a_stream_ends_with_an_error_when_the_storage_is_closed() -> None:
    storage = MemoryStorage()
    await storage.store_interactions("a", [{}] * 3)
    stream = storage.iter_interactions("a")
    await anext(stream)
    await storage.close()
    with pytest.raises(StorageClosedError):
        await anext(stream)


@pytest.mark.asyncio
async def test_an_update_under_way_does_not_write_after_close(name: str) -> None:
    storage = MemoryStorage(name)

    async def change(_: dict[str, Any] | None) -> dict[str, Any]:
        await storage.close()
        return {"n": 1}

    with pytest.raises(StorageClosedError):
        await storage.update_agent_state("a", change)
    async with MemoryStorage(name) as other:
        assert await other.get_agent_state("a") is None


@pytest.mark.asyncio
async def test_a_cancelled_call_has_happened_wholly_or_not_at_all() -> None:
    async with MemoryStorage() as storage:
        for steps in range(4):
            agent_id = f"agent {steps}"
            turn = storage.record_turn(agent_id, interactions=[{}, {}], state={}, learning={"k": {}})
            task = asyncio.ensure_future(turn)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            found = (
                await storage.count_interactions(agent_id),
                await storage.get_agent_state(agent_id) is not None,
                len(await storage.list_learning_data(agent_id)),
            )
            assert found in {(0, False, 0), (2, True, 1)}


# --- event loops, threads, forks -------------------------------------------------------------------------


def test_works_in_one_loop_after_the_other() -> None:
    storage = MemoryStorage()
    for n in range(3):
        asyncio.run(storage.store_interaction("a", {"n": n}))
    assert len(asyncio.run(storage.get_interactions("a"))) == 3
    asyncio.run(storage.close())


def test_a_stream_goes_on_in_another_loop() -> None:
    storage = MemoryStorage()
    asyncio.run(storage.store_interactions("a", [{}] * 3))
    for stream in (storage.iter_interactions("a"), storage.watch_interactions("a", after=0)):

        async def step(stream: Any = stream) -> int:
            return int((await anext(stream)).sequence)

        assert [asyncio.run(step()) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_two_running_loops_at_once_are_refused(call: Callable[[MemoryStorage], Awaitable[Any]]) -> None:
    storage = MemoryStorage()
    used, may_end = threading.Event(), threading.Event()

    async def first() -> None:
        await storage.store_interaction("a", {})
        used.set()
        await asyncio.to_thread(may_end.wait)
        await storage.store_interaction("a", {})

    async def second() -> None:
        with pytest.raises(StorageUsageError, match="another event loop that is still running") as caught:
            await call(storage)
        assert not isinstance(caught.value, StorageClosedError)

    thread = threading.Thread(target=asyncio.run, args=(first(),))
    thread.start()
    try:
        assert used.wait(10)
        asyncio.run(second())
    finally:
        may_end.set()
        thread.join()

    async def afterwards() -> None:
        assert await storage.count_interactions("a") == 2
        await call(storage)

    asyncio.run(afterwards())


def test_instances_of_one_name_work_in_several_loops_at_once(name: str) -> None:
    failures: list[BaseException] = []
    watching = threading.Event()

    async def write() -> None:
        async with MemoryStorage(name) as storage:
            for _ in range(200):
                await storage.store_interaction("a", {})
                await storage.update_agent_state("a", lambda data: {"n": (data or {"n": 0})["n"] + 1})

    async def watch() -> None:
        async with MemoryStorage(name) as storage:
            stream = storage.watch_interactions("a", after=0)
            watching.set()
            assert [(await anext(stream)).sequence for _ in range(800)] == list(range(1, 801))

    def run(main: Callable[[], Any]) -> None:
        try:
            asyncio.run(asyncio.wait_for(main(), 60))
        except BaseException as exc:  # noqa: BLE001 - raised again below, where the test sees it
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(main,)) for main in (watch, write, write, write, write)]
    threads[0].start()
    assert watching.wait(10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures

    async def check() -> None:
        async with MemoryStorage(name) as storage:
            assert await storage.get_agent_state("a") == {"n": 800}
            sequences = [one.sequence async for one in storage.iter_interactions("a")]
            assert sequences == list(range(1, 801))

    asyncio.run(check())


def test_a_watcher_whose_loop_died_disturbs_nobody(name: str) -> None:
    loop = asyncio.new_event_loop()

    async def watch() -> None:
        await anext(MemoryStorage(name).watch_interactions("a"))

    task = loop.create_task(watch())
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert not task.done()
    task.cancel()
    loop.close()  # before the task could take notice

    async def write() -> None:
        async with MemoryStorage(name) as storage:
            await storage.store_interaction("a", {})
            assert await storage.count_interactions("a") == 1

    asyncio.run(write())


FORK = """
import asyncio, os, sys
from oacp_storage_core import MemoryStorage

storage = MemoryStorage()

async def parent():
    await storage.store_interaction("a", {})
    loop = asyncio.get_running_loop()
    child = os.fork()
    if child == 0:
        assert loop.is_running(), "as it seems to the child"
        asyncio.new_event_loop().run_until_complete(in_child())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert await storage.count_interactions("a") == 1, "the parent has its own"

async def in_child():
    await storage.store_interaction("a", {})
    assert [one.sequence async for one in storage.iter_interactions("a")] == [1, 2]
    print("the child has a copy", flush=True)

asyncio.run(parent())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_goes_on_with_a_copy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("the child has a copy\n", "", 0)


FORK_WITH_THREADS = """
import asyncio, os, signal, threading, time, warnings
from oacp_storage_core import MemoryStorage
from oacp_storage_core.memory_store import LOCK

warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point here
held = threading.Event()

def work():  # another thread is in the middle of a write
    with LOCK:
        held.set()
        time.sleep(0.2)

threading.Thread(target=work).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    asyncio.run(MemoryStorage().store_interaction("a", {}))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child inherited a lock that nobody releases"
asyncio.run(MemoryStorage().store_interaction("a", {}))
print("both go on")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_waits_for_the_writes_of_other_threads() -> None:
    script = [sys.executable, "-c", FORK_WITH_THREADS]
    done = subprocess.run(script, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("both go on\n", "", 0)


# --- options, names and URLs -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_storage_without_name_has_data_of_its_own() -> None:
    async with MemoryStorage() as one, MemoryStorage() as other:
        await one.store_interaction("a", {})
        assert await other.list_agents() == []


@pytest.mark.asyncio
async def test_storages_of_one_name_share_their_data(name: str) -> None:
    async with MemoryStorage(name) as one:
        await one.store_interaction("a", {"n": 1})
        async with MemoryStorage(name) as other:
            assert await other.get_interactions("a") == [{"n": 1}]
    async with MemoryStorage(name) as later, MemoryStorage(f"{name} too") as another:
        assert await later.get_interactions("a") == [{"n": 1}], "closing drops nothing"
        assert await another.list_agents() == []
        assert MemoryStorage.forget(f"{name} too")
        assert MemoryStorage.forget(name)
        assert not MemoryStorage.forget(name)
        async with MemoryStorage(name) as fresh:
            assert await fresh.list_agents() == []
        assert await later.list_agents() == ["a"], "who has it open keeps it"


@pytest.mark.asyncio
async def test_a_url_names_the_store(name: str) -> None:
    async with MemoryStorage(name) as storage:
        await storage.store_interaction("a", {"n": 1})
    for url in (f"memory://{name}", f"memory://{name[:4]}%{ord(name[4]):02x}{name[5:]}"):
        async with MemoryStorage.from_url(url) as storage:
            assert await storage.get_interactions("a") == [{"n": 1}]
        async with create_storage(url) as created:
            assert await created.get_interactions("a") == [{"n": 1}]
    async with create_storage(f"memory://{name}?namespace=other&coerce=true") as created:
        assert await created.list_agents() == []
        await created.store_agent_state("a", {"x": ()})
        assert await created.get_agent_state("a") == {"x": []}
    async with MemoryStorage.from_url("memory://") as storage:
        assert await storage.list_agents() == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MemoryStorage(""), "the name of a memory store is empty"),
        (lambda: MemoryStorage(namespace="No!"), "namespace 'No!' is not valid"),
        (
            lambda: MemoryStorage.from_url("memory://x?colour=red"),
            "options that a memory store does not know",
        ),
        (lambda: create_storage("memory://x?colour=red"), "options that a memory store does not know"),
        (lambda: create_storage("memory://x?name=y"), "names the store already; leave out the option name"),
        (lambda: MemoryStorage.from_url("memory://x", name="y"), "names the store already"),
        (lambda: create_storage("memory", colour="red"), "no option 'colour'"),
        (lambda: create_storage("memory", name=7), "'name' must be"),
        (lambda: create_storage("memory", coerce="perhaps"), "'coerce' must be"),
    ],
)
def test_wrong_options_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(StorageConfigError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.asyncio
async def test_coerce_is_an_option() -> None:
    async with MemoryStorage(coerce=True) as storage:
        await storage.store_interaction("a", {"x": (1,)})
        await storage.store_interactions("a", [{"x": (2,)}])
        await storage.record_turn(
            "a", interactions=[{"x": (3,)}], state={"x": (4,)}, learning={"k": {"x": (5,)}}
        )
        await storage.store_system_state("k", {"x": (6,)})
        await storage.update_system_state("l", lambda _: {"x": (7,)})
        assert await storage.get_interactions("a") == [{"x": [1]}, {"x": [2]}, {"x": [3]}]
        assert await storage.get_agent_state("a") == {"x": [4]}
        assert await storage.get_learning_data("a", "k") == {"x": [5]}
        assert [one.data for one in await storage.list_system_state()] == [{"x": [6]}, {"x": [7]}]
    async with MemoryStorage() as storage:
        with pytest.raises(InvalidPayloadError):
            await storage.store_interaction("a", {"x": (1,)})
