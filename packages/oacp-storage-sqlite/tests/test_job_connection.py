"""Jobs: whole, in order, in a thread that ends with its connection; also a guard over what is used of aiosqlite."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from oacp_storage_core import StorageClosedError
from oacp_storage_sqlite.job_connection import JobConnection
from sqlite_testing import run_python


def connect(path: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def threads() -> set[threading.Thread]:
    return {
        thread
        for thread in threading.enumerate()
        if "connection_worker" in thread.name or "Jobs" in thread.name
    }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_job_is_one_piece_in_the_connections_thread(tmp_path: Path) -> None:
    connection = JobConnection(connect(tmp_path / "a.db"))
    seen: list[str] = []

    def job(raw: sqlite3.Connection) -> int:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("CREATE TABLE IF NOT EXISTS t (x)")
        raw.execute("INSERT INTO t VALUES (1)")
        raw.execute("COMMIT")
        seen.append(threading.current_thread().name)
        return len(seen)

    assert await asyncio.gather(*[connection.perform(job) for _ in range(5)]) == [1, 2, 3, 4, 5]
    assert len(set(seen)) == 1
    assert threading.current_thread().name not in seen
    await connection.close()


@pytest.mark.asyncio
async def test_a_failing_job_raises_to_its_caller_only(tmp_path: Path) -> None:
    connection = JobConnection(connect(tmp_path / "a.db"))
    with pytest.raises(ZeroDivisionError):
        await connection.perform(lambda _: 1 // 0)
    assert await connection.perform(lambda raw: raw.execute("SELECT 1").fetchone()) == (1,)
    await connection.close()


@pytest.mark.asyncio
async def test_a_connection_that_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.db"
    connection = JobConnection(connect(path))
    with pytest.raises(sqlite3.OperationalError):
        await connection.perform(lambda raw: raw.execute("SELECT 1"))
    path.parent.mkdir()
    assert await connection.perform(lambda raw: raw.execute("SELECT 1").fetchone()) == (1,)
    await connection.close()


@pytest.mark.asyncio
async def test_a_cancelled_caller_leaves_its_job_whole(tmp_path: Path) -> None:
    connection = JobConnection(connect(tmp_path / "a.db"))
    await connection.perform(lambda raw: raw.execute("CREATE TABLE t (x)"))
    begun, go_on = threading.Event(), threading.Event()

    def job(raw: sqlite3.Connection) -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT INTO t VALUES (1)")
        begun.set()
        go_on.wait(10)
        raw.execute("COMMIT")

    caller = asyncio.ensure_future(connection.perform(job))
    await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    after = asyncio.ensure_future(
        connection.perform(lambda raw: raw.execute("SELECT count(*) FROM t").fetchone())
    )
    go_on.set()
    assert await after == (1,)
    assert not await connection.perform(lambda raw: raw.in_transaction)
    await connection.close()


@pytest.mark.asyncio
async def test_closing_waits_for_jobs_and_ends_the_thread(tmp_path: Path) -> None:
    before = threads()
    closed: list[str] = []
    connection = JobConnection(connect(tmp_path / "a.db"), closed=lambda: closed.append("closed"))

    def slow_job(_: sqlite3.Connection) -> None:
        time.sleep(0.05)
        closed.append("slow")

    slow = asyncio.ensure_future(connection.perform(slow_job))
    await asyncio.sleep(0)
    await connection.close()
    await connection.close()
    await slow
    assert closed == ["slow", "closed"]
    await until(lambda: threads() <= before)
    with pytest.raises(StorageClosedError):
        await connection.perform(lambda _: None)


@pytest.mark.asyncio
async def test_closing_connects_nothing(tmp_path: Path) -> None:
    await JobConnection(connect(tmp_path / "nowhere" / "a.db")).close()


def test_a_loop_that_ended_meanwhile_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread finishes the job, finds nobody, goes on, and ends when it is told to."""
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    before = threads()
    release, done = threading.Event(), threading.Event()
    connection: list[JobConnection] = []

    def slow_job(_: sqlite3.Connection) -> None:
        release.wait(10)
        done.set()

    async def leave_in_the_middle() -> None:
        connection.append(JobConnection(connect(tmp_path / "a.db")))
        job = connection[0].submit(slow_job)
        await asyncio.sleep(0.01)
        job.cancel()

    async def go_on_elsewhere() -> None:
        assert await connection[0].perform(lambda raw: raw.execute("SELECT 1").fetchone()) == (1,)
        connection[0].abandon()
        await until(lambda: threads() <= before)

    asyncio.run(leave_in_the_middle())
    release.set()
    assert done.wait(10)
    asyncio.run(go_on_elsewhere())
    assert not died


UNCLOSED = """
import asyncio, sqlite3, sys
from oacp_storage_sqlite.job_connection import JobConnection

async def main():
    global kept
    kept = JobConnection(lambda: sqlite3.connect(sys.argv[1], check_same_thread=False))
    await kept.perform(lambda raw: raw.execute("SELECT 1"))

asyncio.run(main())
print("the end")
"""


def test_an_unclosed_connection_keeps_no_interpreter_from_exiting(tmp_path: Path) -> None:
    assert run_python(UNCLOSED, tmp_path / "a.db", timeout=20) == "the end\n"


class Large:
    """Stands for much of what a job writes or reads."""


@pytest.mark.asyncio
async def test_nothing_of_a_job_is_kept_after_it(tmp_path: Path) -> None:
    connection = JobConnection(connect(tmp_path / "a.db"))
    written, read = Large(), Large()
    kept = [weakref.ref(written), weakref.ref(read)]
    answers = [read]

    def job(raw: sqlite3.Connection, written: Large = written) -> Large:
        return answers.pop()

    assert await connection.perform(job) is read
    del job, written, read
    await until(lambda: all(one() is None for one in kept))
    await connection.close()
