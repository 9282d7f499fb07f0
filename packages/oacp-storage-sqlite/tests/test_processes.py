"""Many processes on one database: nobody is told that it is locked, nobody starves, and a dead one leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oacp_storage_sqlite import SQLiteStorage
from oacp_storage_sqlite.turns import Turn
from sqlite_testing import plain, run_python, start_python

WRITE = """
import asyncio, json, os, sys
from oacp_storage_sqlite import SQLiteStorage

async def main():
    path, name, tasks, seconds, wal = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5] == "1"
    async with SQLiteStorage(path, enable_wal_mode=wal, timeout=20) as storage:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        until = asyncio.get_running_loop().time() + seconds
        done = [0] * tasks
        async def write(task):
            writer = f"{name}/{task}"
            while asyncio.get_running_loop().time() < until:
                n = done[task]
                given = {"interaction_id": f"{writer}/{n}"} if task % 2 else {}
                await storage.store_interaction(f"agent {task % 5}", {"writer": writer, "n": n}, **given)
                done[task] += 1
                print(f"{writer} {n}", flush=True)  # acknowledged
                if n % 7 == 0:
                    await storage.update_system_state("counter", lambda data: {"n": (data or {"n": 0})["n"] + 1})
                if n % 11 == 0:
                    await storage.get_interactions(f"agent {task % 5}", 5)
        await asyncio.gather(*[write(task) for task in range(tasks)])
        print("total", sum(done), flush=True)

asyncio.run(main())
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


async def ready(processes: list[subprocess.Popen[str]]) -> None:
    """Wait until all have the store open."""
    for process in processes:
        assert process.stdout is not None
        told = await asyncio.to_thread(process.stdout.readline)
        assert told == "ready\n", process.communicate()


async def go(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """Let all begin at once; what they print and complain of."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(processes)) as threads:  # asyncio's own would let only so many as cores begin
        talks = [loop.run_in_executor(threads, process.communicate, "go\n", 60) for process in processes]
        return await asyncio.gather(*talks)


@pytest.mark.asyncio
@pytest.mark.parametrize("wal", [True, False])
async def test_four_processes_two_of_which_are_killed(
    tmp_path: Path, processes: list[subprocess.Popen[str]], wal: bool
) -> None:
    path, tasks, seconds = tmp_path / "a.db", 16, 10.0 if os.environ.get("CI") == "true" else 4.0
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    processes += [start_python(WRITE, path, f"p{n}", tasks, seconds, int(wal)) for n in range(4)]
    await ready(processes)
    running = asyncio.ensure_future(go(processes))
    await asyncio.sleep(1)
    for victim in processes[:2]:
        await asyncio.sleep(dice.uniform(0.2, 1.2))
        victim.kill()
    results = await running
    assert [err for _, err in results] == [""] * 4
    acknowledged: dict[str, list[int]] = {}
    for out, _ in results:
        for line in out.splitlines():
            writer, _, n = line.rpartition(" ")
            if writer != "total":
                acknowledged.setdefault(writer, []).append(int(n))
    assert len(acknowledged) == 4 * tasks
    async with SQLiteStorage(path) as storage:
        stored: dict[str, list[int]] = {}
        for agent in await storage.list_agents():
            sequences = []
            async for one in storage.iter_interactions(agent):
                sequences.append(one.sequence)
                stored.setdefault(one.data["writer"], []).append(one.data["n"])
            assert sequences == list(range(1, len(sequences) + 1))
        for writer, numbers in acknowledged.items():
            assert numbers == list(range(len(numbers)))
            # One more may be there: committed, and killed before it was told.
            assert stored[writer] in ([*numbers], [*numbers, len(numbers)])
        assert [damage async for damage in storage.verify()] == []


@pytest.mark.asyncio
async def test_nobody_starves(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Ten processes write as much as they can: the slowest gets at least half of the mean.

    In one round of five, of which the later ones last longer: a busy machine starves a process now and then, and on
    one that leaves few turns to all of them their shares differ by chance. A store that starves does so always.
    """
    for attempt, seconds in enumerate((4.0, 4.0, 8.0, 16.0, 32.0)):
        path = tmp_path / f"{attempt}.db"
        round_ = [start_python(WRITE, path, f"p{n}", 4, seconds, 1) for n in range(10)]
        processes += round_
        await ready(round_)
        results = await go(round_)
        assert [err for _, err in results] == [""] * 10
        totals = [int(out.splitlines()[-1].split()[1]) for out, _ in results]
        print(totals)
        if min(totals) >= sum(totals) / len(totals) / 2:
            return
    pytest.fail("in each round, some process got less than half of the mean")


def test_without_a_lock_file_sqlites_locks_do(tmp_path: Path) -> None:
    """On some network file systems there is no flock; then a turn is taken by taking nothing."""
    (tmp_path / "a.db-turn").mkdir()
    told = run_python(WITHOUT_TURNS, tmp_path / "a.db")
    assert json.loads(told) == [1, 2, 3]
    turn = Turn(str(tmp_path / "a.db"))
    turn.take(0)
    turn.give()
    turn.close()


WITHOUT_TURNS = """
import asyncio, json, sys
from oacp_storage_sqlite import SQLiteStorage

async def main():
    async with SQLiteStorage(sys.argv[1]) as storage:
        for n in (1, 2, 3):
            await storage.store_interaction("a", {"n": n})
        print(json.dumps([one["n"] for one in await storage.get_interactions("a")]))

asyncio.run(main())
"""

WATCH = """
import asyncio, sys, time
from oacp_storage_sqlite import SQLiteStorage

async def main():
    async with SQLiteStorage(sys.argv[1]) as storage:
        records = storage.watch_interactions("a", after=0)
        while True:
            one = await anext(records)
            print(one.data["n"], time.time() - one.data["at"], flush=True)
            if one.data["n"] == int(sys.argv[2]):
                break

asyncio.run(main())
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("wal", [True, False])
async def test_another_process_hears_of_a_commit_within_200_ms(
    tmp_path: Path, processes: list[subprocess.Popen[str]], wal: bool
) -> None:
    path, count = tmp_path / "a.db", 30
    async with SQLiteStorage(path, enable_wal_mode=wal) as storage:
        await storage.store_interaction("a", {"n": 0, "at": time.time()})
        watcher = start_python(WATCH, path, count)
        processes.append(watcher)
        assert watcher.stdout is not None
        assert (await asyncio.to_thread(watcher.stdout.readline)).startswith("0 ")
        for n in range(1, count + 1):
            await asyncio.sleep(random.uniform(0, 0.1))
            await storage.store_interaction("a", {"n": n, "at": time.time()})
        out, err = await asyncio.to_thread(watcher.communicate, None, 30)
    assert err == ""
    heard = [line.split() for line in out.splitlines()]
    assert [int(n) for n, _ in heard] == list(range(1, count + 1))
    latencies = sorted(float(latency) for _, latency in heard)
    print(latencies)
    assert latencies[count // 2] < 0.2


def test_a_turn_is_free_when_its_owner_dies(tmp_path: Path) -> None:
    with plain(tmp_path / "a.db"):
        pass
    run_python(TAKE_A_TURN_AND_DIE, tmp_path / "a.db")
    turn = Turn(str(tmp_path / "a.db"))
    turn.take(0)
    turn.give()
    turn.close()


TAKE_A_TURN_AND_DIE = """
import os, sys
from oacp_storage_sqlite.turns import Turn
if os.fork() == 0:
    turn = Turn(sys.argv[1])
    turn.take(0)
    os._exit(0)
os.wait()
"""
