"""Several processes on one store: killed, stopped, forked, and in each other's way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from file_world import World, contents, ids_of, said
from oacp_storage_engine import Applied, NotApplied
from oacp_storage_file import FileStorage
from oacp_storage_file.engine import _POLL, FileEngine
from oacp_storage_file.locks import CommitLock, LockFile

_HOLD = """
import sys, time
from oacp_storage_file.locks import CommitLock, LockFile
inner = sys.argv[1] + "/.oacp/"
with CommitLock(inner + "line.lock", inner + "commit.lock").held():
    print("held", flush=True)
    time.sleep(60)
"""

_FORK_WHILE_HOLDING = """
import os, sys, time
from oacp_storage_file.locks import CommitLock, LockFile
inner = sys.argv[1] + "/.oacp/"
with CommitLock(inner + "line.lock", inner + "commit.lock").held():
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""

_WRITE = """
import asyncio, json, sys, time
from oacp_storage_file import FileStorage

async def main(directory, name, seconds):
    acknowledged = 0
    async with FileStorage(directory) as storage:
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + seconds
        async def writer(task):
            nonlocal acknowledged
            n = 0
            while time.monotonic() < end:
                one = f"{name}-{task}-{n}"
                said = {"by": name, "task": task, "n": n}
                await storage.store_interaction(f"agent-{n % 3}", said, interaction_id=one)
                print(one, flush=True)
                n += 1
                acknowledged += 1
        await asyncio.gather(*(writer(task) for task in range(4)))
    print(json.dumps({"acknowledged": acknowledged}), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed its first line."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline()
            yield started
        finally:
            started.kill()


@pytest.mark.asyncio
async def test_a_killed_owner_blocks_nobody(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "store") as storage:
        await storage.store_interaction("a", {"n": 1})
        with process(_HOLD, storage.directory) as owner:
            writing = asyncio.ensure_future(storage.store_interaction("a", {"n": 2}))
            done, _ = await asyncio.wait([writing], timeout=0.2)
            assert not done
            assert [i["n"] for i in await storage.get_interactions("a")] == [1]  # reading needs no lock
            owner.send_signal(signal.SIGKILL)
            await writing
        assert [i["n"] for i in await storage.get_interactions("a")] == [1, 2]


@pytest.mark.asyncio
async def test_a_stopped_owner_ends_in_a_timeout_that_wrote_nothing(tmp_path: Path) -> None:
    engine = FileEngine(str(tmp_path / "store"), "default", max_file_size=10**8)
    await engine.open()
    loop = asyncio.get_running_loop()
    await engine.commit("1", [said("a", "a1")], deadline=loop.time() + 30)
    with process(_HOLD, tmp_path / "store") as owner:
        owner.send_signal(signal.SIGSTOP)
        with pytest.raises(NotApplied, match="lock"):
            await engine.commit("2", [said("a", "a2")], deadline=loop.time() + 0.3)
        assert await engine.count("a", 0, None, None) == 1
        owner.send_signal(signal.SIGKILL)
    await engine.commit("3", [said("a", "a3")], deadline=loop.time() + 30)
    await engine.close()
    assert ids_of(contents(tmp_path / "store"), "a") == ["a1", "a3"]


@pytest.mark.asyncio
async def test_a_forked_child_does_not_hold_its_parents_lock(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "store") as storage:
        await storage.store_interaction("a", {"n": 1})
        with process(_FORK_WHILE_HOLDING, storage.directory) as owner:
            owner.send_signal(signal.SIGKILL)  # the child lives on for a while
            owner.wait()
            await storage.store_interaction("a", {"n": 2})


def test_a_forked_child_does_not_release_its_parents_lock(tmp_path: Path) -> None:
    line, lock = str(tmp_path / "line"), str(tmp_path / "lock")
    mine, other = CommitLock(line, lock), LockFile(lock)
    with mine.held():
        child = os.fork()
        if child == 0:
            mine.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not other.try_acquire()
    assert other.try_acquire()
    mine.close()
    other.close()


def test_two_storages_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    line, lock = str(tmp_path / "line"), str(tmp_path / "lock")
    one, other = CommitLock(line, lock), LockFile(lock)
    with one.held():
        assert not other.try_acquire()
    one.close()
    other.close()


@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_doubled_or_out_of_order(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    seconds = 10.0 if os.environ.get("CI") == "true" else 2.0
    with (
        process(_WRITE, directory, "p0", seconds) as p0,
        process(_WRITE, directory, "p1", seconds) as p1,
        process(_WRITE, directory, "p2", seconds) as p2,
        process(_WRITE, directory, "p3", seconds) as p3,
    ):
        writers = {"p0": p0, "p1": p1, "p2": p2, "p3": p3}
        for writer in writers.values():
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        reading = {
            name: asyncio.create_task(asyncio.to_thread(writer.communicate))
            for name, writer in writers.items()
        }
        await asyncio.sleep(seconds * 0.4)
        p1.send_signal(signal.SIGKILL)
        await asyncio.sleep(seconds * 0.2)
        p2.send_signal(signal.SIGKILL)
        acknowledged = [
            line
            for out, _ in await asyncio.gather(*reading.values())
            for line in out.splitlines()
            if line.startswith("p") and not line.endswith("-")
        ]
    assert len(acknowledged) > 20
    found: dict[str, int] = {}
    last: dict[tuple[str, int, str], int] = {}
    async with FileStorage(directory) as storage:
        for agent in await storage.list_agents():
            sequence = 0
            async for interaction in storage.iter_interactions(agent):
                assert interaction.sequence == sequence + 1
                sequence += 1
                assert interaction.id not in found
                found[interaction.id] = sequence
                by = (interaction.data["by"], interaction.data["task"], agent)
                assert last.get(by, -1) < interaction.data["n"]
                last[by] = interaction.data["n"]
        assert not [damage async for damage in storage.verify()]
    # The last line of a killed process may be cut.
    lost = [one for one in acknowledged if one not in found]
    assert len(lost) <= 2
    assert all(any(there.startswith(one) for there in found) for one in lost)


def test_who_waits_has_the_lock_before_its_owner_has_it_again(tmp_path: Path) -> None:
    """So that of several processes none starves, however fast one of them is."""
    line, lock = str(tmp_path / "line"), str(tmp_path / "lock")
    mine, probe = CommitLock(line, lock), LockFile(line)
    order: list[str] = []

    def wait_in_line(name: str) -> None:
        other = CommitLock(line, lock)
        with other.held():
            order.append(name)
        other.close()

    for n in range(20):
        waiter = threading.Thread(target=wait_in_line, args=(f"other {n}",))
        with mine.held():
            order.append(f"mine {n}")
            waiter.start()
            while probe.try_acquire():
                probe.release()
                time.sleep(0.001)
        with mine.held():
            order.append(f"again {n}")
        waiter.join()
    assert order == [f"{who} {n}" for n in range(20) for who in ("mine", "other", "again")]
    mine.close()
    probe.close()


def test_the_next_in_line_follows_while_it_waits(tmp_path: Path) -> None:
    """What others wrote is not read with the lock held, where everybody waits."""
    lock = CommitLock(str(tmp_path / "line"), str(tmp_path / "lock"))
    owner = LockFile(str(tmp_path / "lock"))
    with lock.held(lambda: pytest.fail("nobody has the lock")):
        pass
    owner.acquire()
    with lock.held(owner.release):
        assert not owner.try_acquire()
    lock.close()
    owner.close()


def test_following_others_while_waiting_leaves_nothing_out(tmp_path: Path) -> None:
    one, other = World(tmp_path), World(tmp_path)
    other.commit(said("a", "a1"))
    held = LockFile(one.layout.inner("commit.lock"))
    for n in range(2, 9):
        one.commit(said("a", f"a{n}"), said("b", f"b{n}"))
        if n % 3 == 0:
            one.checkpoint()
        held.acquire()
        waiting = threading.Thread(target=other.commit, args=(said("c", f"c{n}"),))
        waiting.start()
        while other.store.position.end != one.store.position.end and n % 3:
            time.sleep(0.001)
        held.release()
        waiting.join()
        assert other.commit(said("a", f"o{n}")) == [Applied((2 * (n - 1) + 1,))]
    one.close()
    other.close()
    held.close()
    assert len(ids_of(contents(tmp_path), "a")) == 15


_EXIT = """
import asyncio, sys
from oacp_storage_file import FileStorage

async def main():
    storage = FileStorage(sys.argv[1], auto_backup=True)
    await storage.store_interaction("a", {"n": 1})
    writing = asyncio.ensure_future(storage.store_interaction("a", {"n": 2}))
    print("ready", flush=True)
    sys.stdin.readline()
    writing = asyncio.ensure_future(storage.store_interaction("a", {"n": 3}))
    await asyncio.sleep(0.2)
    print("leaving", flush=True)

asyncio.run(main())
"""


def test_nothing_keeps_the_interpreter_from_exiting(tmp_path: Path) -> None:
    """Not even a commit that waits for the lock of a stopped process."""
    directory = tmp_path / "store"
    with process(_EXIT, directory) as leaving, process(_HOLD, directory) as owner:
        owner.send_signal(signal.SIGSTOP)
        assert leaving.stdin is not None
        leaving.stdin.write("go\n")
        leaving.stdin.flush()
        begun = time.monotonic()
        out, _ = leaving.communicate(timeout=30)
        assert out.strip() == "leaving"
        assert time.monotonic() - begun < 10
        owner.send_signal(signal.SIGKILL)


@pytest.mark.asyncio
async def test_watching_another_process_takes_a_few_looks(tmp_path: Path) -> None:
    """Against sleeping as long as a watcher does between its looks, on this machine at this moment."""
    async with FileStorage(tmp_path / "store") as here, FileStorage(tmp_path / "store") as there:
        watching = here.watch_interactions("a")
        first = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0.1)
        await there.store_interaction("a", {"n": 0})
        await first
        delays, looks = [], []
        for n in range(1, 11):
            waiting = asyncio.ensure_future(anext(watching))
            await asyncio.sleep(0.02)
            await there.store_interaction("a", {"n": n})
            begun = time.monotonic()
            assert (await waiting).data == {"n": n}
            delays.append(time.monotonic() - begun)
            begun = time.monotonic()
            await asyncio.sleep(_POLL)
            await here.get_interactions("a", 1)
            looks.append(time.monotonic() - begun)
    print([round(delay, 3) for delay in delays])
    assert sum(delays) < 3 * sum(looks)
