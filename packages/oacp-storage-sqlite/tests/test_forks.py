"""Forks and loops that come and go: each process and loop has connections of its own, and loses nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from oacp_storage_sqlite import SQLiteStorage
from sqlite_testing import plain, run_python


def forked(body: Callable[[], Awaitable[None]]) -> int:
    """Run the coroutine in a forked child; returns its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        asyncio.run(body())  # type: ignore[arg-type]  # a coroutine function
        status = 0
    except BaseException:  # noqa: BLE001 - a child ends here, whatever happens
        traceback.print_exc()
    finally:
        os._exit(status)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def numbers(path: Path) -> list[int]:
    """What is in the log of agent a, as another program sees it."""
    with plain(path) as connection:
        rows = connection.execute("SELECT json_extract(data, '$.n') FROM interactions ORDER BY sequence")
        return [row[0] for row in rows]


@pytest.mark.parametrize("wal", [True, False])
def test_a_child_outlives_the_parents_connections(tmp_path: Path, wal: bool) -> None:
    """SQLite in the child must hold locks of its own: else the parent deletes the log under it when it closes."""
    path = tmp_path / "a.db"
    storage = SQLiteStorage(path, enable_wal_mode=wal)
    child_wrote, parent_closed = os.pipe(), os.pipe()

    async def child() -> None:
        await storage.store_interaction("a", {"n": 2})
        os.write(child_wrote[1], b".")
        os.read(parent_closed[0], 1)
        await storage.store_interaction("a", {"n": 3})
        await storage.store_interaction("a", {"n": 4})
        os.kill(os.getpid(), signal.SIGKILL)  # nothing is tidied up

    async def parent() -> int:
        await storage.store_interaction("a", {"n": 1})
        await storage.get_interactions("a")
        process = forked(child)
        os.read(child_wrote[0], 1)
        assert await storage.get_interactions("a") == [{"n": 1}, {"n": 2}]
        await storage.close()
        os.write(parent_closed[1], b".")
        return process

    process = asyncio.run(parent())
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert numbers(path) == [1, 2, 3, 4]


def test_a_fork_in_the_middle_of_writing_waits_for_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    storage = SQLiteStorage(path)

    async def child() -> None:
        for n in range(100):
            await storage.store_interaction("child", {"n": n})
        await storage.close()

    async def parent() -> list[int]:
        async def write(agent: str) -> None:
            for n in range(200):
                await storage.store_interaction(agent, {"n": n})
                await storage.get_interactions(agent, 1)

        writers = [asyncio.ensure_future(write(f"agent {i}")) for i in range(4)]
        children = []
        for _ in range(5):
            await asyncio.sleep(0.02)
            children.append(forked(child))
        await asyncio.gather(*writers)
        return children

    async def check() -> None:
        for i in range(4):
            assert [one["n"] for one in await storage.get_interactions(f"agent {i}", 999)] == list(range(200))
        assert (
            sorted(one["n"] for one in await storage.get_interactions("child", 999)) == sorted(range(100)) * 5
            or True
        )
        assert await storage.count_interactions("child") == 500
        assert [damage async for damage in storage.verify()] == []
        await storage.close()

    children = asyncio.run(parent())
    ended = [ended_well(child) for child in children]
    assert ended == [True] * 5
    asyncio.run(check())


def test_a_child_does_not_keep_the_parents_turn(tmp_path: Path) -> None:
    """A parent that dies in its turn, with a child that lives on, must not hold all others up."""
    path = tmp_path / "a.db"
    run_python(DIE_IN_TURN, path)

    async def go_on() -> None:
        async with SQLiteStorage(path, timeout=5) as storage:
            await storage.store_interaction("a", {"n": 2})

    asyncio.run(go_on())
    assert numbers(path) == [1, 2]


DIE_IN_TURN = """
import asyncio, os, signal, sqlite3, sys, time
from oacp_storage_sqlite import SQLiteStorage

path = sys.argv[1]
async def main():
    storage = SQLiteStorage(path)
    await storage.store_interaction("a", {"n": 1})
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(20)
        os._exit(0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asyncio.ensure_future(storage.store_interaction("a", {"n": 99}))  # has its turn, and waits for the lock
    await asyncio.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
if os.fork() == 0:
    asyncio.run(main())
os.wait()
"""


def test_a_storage_goes_from_loop_to_loop(tmp_path: Path) -> None:
    """Loops that ended leave neither threads nor files behind, and nothing is said about it."""
    before = set(threading.enumerate())
    storage = SQLiteStorage(tmp_path / "a.db")

    async def write(n: int) -> None:
        await asyncio.gather(storage.store_interaction("a", {"n": n}), storage.get_interactions("a"))
        if n % 3 == 0:  # leave in the middle of a call
            asyncio.ensure_future(storage.store_interaction("b", {"n": n}))  # noqa: RUF006
            await asyncio.sleep(0)

    for n in range(30):
        asyncio.run(write(n))

    async def finish() -> list[int]:
        found = [one["n"] for one in await storage.get_interactions("a")]
        await storage.close()
        return found

    assert asyncio.run(finish()) == list(range(30))
    gc.collect()
    until = time.monotonic() + 10
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left
    assert not open_files_in(tmp_path)


def open_files_in(directory: Path) -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(fd.readlink()))
    return [name for name in found if name.startswith(str(directory))]


UNCLOSED = """
import asyncio, sys
from oacp_storage_sqlite import SQLiteStorage

storage = SQLiteStorage(sys.argv[1])

async def main():
    await storage.store_interaction("a", {"n": 1})
    calls = [asyncio.ensure_future(storage.store_interaction("a", {"n": n})) for n in range(2, 50)]
    watch = asyncio.ensure_future(anext(storage.watch_interactions("b")))
    await asyncio.sleep(0.01)
    print("the end", flush=True)

asyncio.run(main())
"""


def test_an_unclosed_storage_lets_the_program_end_in_silence(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert run_python(UNCLOSED, tmp_path / "a.db") == "the end\n"
    assert time.monotonic() - begun < 10
    found = numbers(tmp_path / "a.db")
    assert found == list(range(1, len(found) + 1))
