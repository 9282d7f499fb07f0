"""The pool alone, over connections that are none: who gets one when, and what is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oacp_storage_core import StorageTimeoutError
from oacp_storage_engine import NotApplied
from oacp_storage_postgres import PostgreSQLStorage
from oacp_storage_postgres.pool import Pool


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True

    async def close(self, timeout: float) -> None:
        self.closed = True


class Server:
    """Makes connections, once it may."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.open = asyncio.Event()
        self.open.set()
        self.away = False

    async def connect(self) -> Any:
        await self.open.wait()
        if self.away:
            raise NotApplied("away")
        self.made.append(Connection())
        return self.made[-1]

    def pool(self, *, kept: int, extra: int = 0, idle_seconds: float = 60.0, patience: float = 30.0) -> Pool:
        return Pool(self.connect, kept=kept, extra=extra, idle_seconds=idle_seconds, patience=patience)


async def borrow(pool: Pool, *, reading: bool) -> Any:
    return pool.take(reading=reading) or await pool.wait(reading=reading, deadline=None)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("size", "readable"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (50, 47)])
@pytest.mark.asyncio
async def test_reads_leave_some_to_writes(size: int, readable: int) -> None:
    server = Server()
    pool = server.pool(kept=size)
    reads = [asyncio.ensure_future(borrow(pool, reading=True)) for _ in range(size + 1)]
    await settled()
    assert sum(read.done() for read in reads) == readable
    writes = [asyncio.ensure_future(borrow(pool, reading=False)) for _ in range(size)]
    await settled()
    assert sum(write.done() for write in writes) == size - readable
    pool.give_back(reads[0].result(), reading=True)  # writes come first
    await settled()
    assert sum(read.done() for read in reads) == readable
    assert sum(write.done() for write in writes) == size - readable + 1
    await pool.close()
    assert len(server.made) == size
    for waiting in await asyncio.gather(*reads, *writes, return_exceptions=True):
        assert isinstance(waiting, Connection | NotApplied)


@pytest.mark.asyncio
async def test_what_was_cancelled_at_any_moment_takes_nobodys_place() -> None:
    server = Server()
    pool = server.pool(kept=1)
    for reading in (True, False):
        for steps in range(12):
            for away in (False, True):
                server.away = away
                held = None if steps % 2 or away else await borrow(pool, reading=reading)
                if steps % 3 == 0:
                    server.open.clear()
                task = asyncio.ensure_future(borrow(pool, reading=reading))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if held is not None:
                    pool.give_back(held, reading=reading)
                task.cancel()
                server.open.set()
                await asyncio.wait([task])
                if not task.cancelled() and task.exception() is None:
                    pool.give_back(task.result(), reading=reading)
                await settled()
                server.away = False
                async with asyncio.timeout(5):
                    pool.give_back(await borrow(pool, reading=reading), reading=reading)
                if steps % 4 == 0:
                    server.made[-1].closed = True  # as when the server was restarted
    assert len([one for one in server.made if not one.closed]) <= 1


@pytest.mark.asyncio
async def test_those_beyond_the_ones_kept_are_closed_when_nobody_used_them() -> None:
    server = Server()
    pool = server.pool(kept=2, extra=10, idle_seconds=0.05)
    for one in [await borrow(pool, reading=True) for _ in range(6)]:
        pool.give_back(one, reading=True)
    async with asyncio.timeout(30):
        while sum(not one.closed for one in server.made) > 2:
            pool.give_back(await borrow(pool, reading=True), reading=True)  # only the last one is used
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)
    assert sum(not one.closed for one in server.made) == 2
    assert not server.made[5].closed


@pytest.mark.asyncio
async def test_a_read_that_waited_in_vain_says_what_to_raise(database: str) -> None:
    async with PostgreSQLStorage(database, pool_size=1, max_overflow=0, timeout=0.5) as storage:
        await storage.open()
        engine: Any = storage._call().engine  # noqa: SLF001 - to hold its one connection
        async with engine._connections.reading():  # noqa: SLF001
            with pytest.raises(StorageTimeoutError, match="raise pool_size or max_overflow"):
                await storage.get_interactions("ann")
