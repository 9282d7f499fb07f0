"""What networks and servers do in the middle of calls: every acknowledged write is there exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from oacp_storage_conformance.load import assert_exactly_once, load, more, until_stored, whole_log
from oacp_storage_conformance.servers import PostgresServer, once
from oacp_storage_core import OutcomeUnknownError, StorageTimeoutError
from oacp_storage_postgres import PostgreSQLStorage
from oacp_storage_postgres.connections import Connections
from postgres_testing import PostgresProxy, query


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer(PostgresServer.find()[0]) as server:
        yield server


def is_commit(data: bytes) -> bool:
    return b"hello" in data


@pytest.mark.asyncio
async def test_a_request_that_is_cut_is_sent_again(proxy: PostgresProxy) -> None:
    async with PostgreSQLStorage(proxy.url) as storage:
        await storage.store_interaction("ann", {"n": 1})
        proxy.on_request = once(is_commit)
        await storage.store_interaction("ann", {"n": "hello"})
        assert await storage.get_interactions("ann") == [{"n": 1}, {"n": "hello"}]


@pytest.mark.asyncio
async def test_a_write_whose_reply_is_cut_happens_once(proxy: PostgresProxy) -> None:
    async with PostgreSQLStorage(proxy.url) as storage:
        await storage.store_agent_state("ann", {"n": 1})
        calls: dict[str, Any] = {
            "append": lambda: storage.store_interaction("ann", {"n": "hello"}),
            "batch": lambda: storage.store_interactions("ann", [{"n": "hello"}] * 3),
            "state": lambda: storage.store_agent_state("ann", {"n": 2}, expected_version=1),
            "delete": lambda: storage.delete_interactions("ann", keep_last=2),
            "erase": lambda: storage.delete_agent("ann"),
        }
        found = {}
        for name, call in calls.items():
            cut: list[bytes] = []

            def at_the_reply(data: bytes, cut: list[bytes] = cut) -> bool:
                if (
                    not cut and b"D\0\0\0" in data and b"Z\0\0\0\5I" in data
                ):  # a row, and that it is committed
                    cut.append(data)
                    return False
                return True

            proxy.on_reply = at_the_reply
            found[name] = await call()
            assert cut, f"the reply to {name} was never seen"
        assert found["state"] == 2
        assert found["delete"] == 2
        assert (found["erase"].interactions, found["erase"].states) == (2, 1)
        await storage.store_interaction("ann", {})
        assert [one.sequence for one in await whole_log(storage, "ann")] == [5]


@pytest.mark.parametrize("pgbouncer", [False, True])
@pytest.mark.parametrize("partitioned", [False, True])
@pytest.mark.asyncio
async def test_a_copied_batch_that_is_cut_on_the_way_happens_once(
    proxy: PostgresProxy, pgbouncer: bool, partitioned: bool
) -> None:
    """In the middle of it nothing was written; when the reply to the commit is lost, everything was."""
    batch = [{"n": n, "text": "hello" * 20} for n in range(2000)]
    async with PostgreSQLStorage(proxy.url, pgbouncer=pgbouncer, partition_by_date=partitioned) as storage:
        await storage.store_interaction("ann", {"n": "first"})
        cut: list[str] = []

        def in_the_middle(data: bytes) -> bool:
            if not cut and is_commit(data):
                cut.append("request")
                return False
            return True

        def at_the_commit(data: bytes) -> bool:
            if len(cut) == 1 and b"COMMIT\0Z\0\0\0\5I" in data:
                cut.append("reply")
                return False
            return True

        proxy.on_request, proxy.on_reply = in_the_middle, at_the_commit
        ids = await storage.store_interactions("ann", batch)
        assert cut == ["request", "reply"]
        log = await whole_log(storage, "ann")
        assert [one.sequence for one in log] == list(range(1, 2002))
        assert [one.id for one in log[1:]] == ids
        assert [one.data for one in log[1:]] == batch
        assert [damage async for damage in storage.verify()] == []


@pytest.mark.asyncio
async def test_calls_over_a_half_open_connection_end_in_time(proxy: PostgresProxy) -> None:
    storage = PostgreSQLStorage(proxy.url, timeout=1.0, connect_timeout=0.5)
    async with storage:
        await storage.store_interaction("ann", {"n": 1})
        proxy.frozen = True
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises((OutcomeUnknownError, StorageTimeoutError)) as ended:
            await storage.store_interaction("ann", {"n": 2}, interaction_id="two")
        with pytest.raises(StorageTimeoutError):
            await storage.get_interactions("ann")
        assert not (await storage.health()).ok
        assert loop.time() - begun < 10
        proxy.frozen = False
        await until_stored(storage, "ann", 3)
        assert (await storage.health()).ok
        found = await storage.get_interactions("ann")
        assert found[0] == {"n": 1}
        assert found[-1] == {"n": 3}
        assert len(found) == 2 or isinstance(ended.value, OutcomeUnknownError)


@pytest.mark.asyncio
async def test_a_server_restarted_under_load_loses_and_doubles_nothing(own_server: PostgresServer) -> None:
    async with PostgreSQLStorage(own_server.url, timeout=20) as storage:
        async with load(storage) as fate:
            for crash in (True, False, True):
                await more(fate, 100)
                await asyncio.to_thread(own_server.restart, crash=crash)
            await more(fate, 100)
        await assert_exactly_once(storage, fate)


@pytest.mark.asyncio
async def test_connections_cut_under_load_lose_and_double_nothing(database: str) -> None:
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with PostgreSQLStorage(database, timeout=20) as storage:
        async with load(storage) as fate:
            for _ in range(15):
                await more(fate, 20)
                await query(database, others)
        await assert_exactly_once(storage, fate)


@pytest.mark.asyncio
async def test_watching_survives_a_restart_and_the_loss_of_its_listener(own_server: PostgresServer) -> None:
    listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    async with PostgreSQLStorage(own_server.url) as storage, PostgreSQLStorage(own_server.url) as watcher:
        records = watcher.watch_interactions("ann", after=0)
        for n in range(1, 10):
            if n == 4:
                await query(own_server.url, listeners)
            if n == 7:
                await asyncio.to_thread(own_server.restart)
            await until_stored(storage, "ann", n)
            async with asyncio.timeout(30):
                assert (await anext(records)).sequence == n


@pytest.mark.asyncio
async def test_calls_wait_for_a_connection_up_to_their_time(database: str) -> None:
    """One connection in all, and it waits for a row that somebody else has locked."""
    holder = await asyncpg.connect(database)
    try:
        async with PostgreSQLStorage(database, pool_size=1, max_overflow=0, timeout=1.0) as storage:
            await storage.store_interaction("ann", {"n": 1})
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("SELECT * FROM oacp.agents FOR UPDATE")
            loop = asyncio.get_running_loop()
            begun = loop.time()
            writing = asyncio.ensure_future(storage.store_interaction("ann", {"n": 2}))
            while not await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            reads = await asyncio.gather(
                *(storage.get_interactions("ann") for _ in range(3)), return_exceptions=True
            )
            with pytest.raises(OutcomeUnknownError):
                await writing
            for read in reads:  # the last moments of its time may be enough, when the write has given up
                assert isinstance(read, StorageTimeoutError) or read == [{"n": 1}], read
            assert loop.time() - begun < 10
            await transaction.rollback()
            await until_stored(storage, "ann", 3)
            assert (await storage.get_interactions("ann"))[0] == {"n": 1}
    finally:
        await holder.close()


@pytest.mark.asyncio
async def test_the_pool_grows_under_load_and_not_beyond_its_size(database: str) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'the pool'"
    storage = PostgreSQLStorage(database, pool_size=3, max_overflow=4, application_name="the pool")
    async with storage:
        await storage.store_interactions("ann", [{"n": n} for n in range(1000)])
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, (await query(database, count))[0][0])

        watching = asyncio.ensure_future(watch())
        await asyncio.gather(*(storage.get_interactions("ann", 1000) for _ in range(60)))
        watching.cancel()
        assert 1 < most <= 7


@pytest.mark.asyncio
async def test_connections_beyond_the_pool_size_are_closed_when_idle(database: str) -> None:
    settings = {"dsn": database, "server_settings": {"application_name": "idle ones"}}
    connections = Connections(
        settings, place="the test", kept=2, extra=6, timeout=30, pgbouncer=False, idle_seconds=0.2
    )
    await connections.open()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idle ones'"

    async def read() -> int:
        async with connections.reading() as connection:
            await connection.fetch("SELECT pg_sleep(0.1)")
            found: int = await connection.fetchval(count)
            return found

    assert max(await asyncio.gather(*(read() for _ in range(5)))) == 5
    async with asyncio.timeout(30):
        while (await query(database, count))[0][0] > 2:
            await asyncio.sleep(0.05)
    assert await read() == 2
    await connections.close()


@pytest.mark.asyncio
async def test_what_nobody_waits_for_any_more_ends_in_the_server_too(database: str) -> None:
    """It waits for a row that somebody holds for longer than the call has time."""
    going = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'patient' AND state = 'active'"
    holder = await asyncpg.connect(database)
    try:
        async with PostgreSQLStorage(database, timeout=0.5, application_name="patient") as storage:
            await storage.store_interaction("ann", {"n": 1})
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("SELECT * FROM oacp.agents FOR UPDATE")
            with pytest.raises(OutcomeUnknownError):
                await storage.store_interaction("ann", {"n": 2})
            async with asyncio.timeout(30):
                while (await query(database, going))[0][0]:
                    await asyncio.sleep(0.05)
            await transaction.rollback()
            assert await storage.get_interactions("ann") == [{"n": 1}]
    finally:
        await holder.close()


@pytest.mark.parametrize("pgbouncer", [False, True])
@pytest.mark.asyncio
async def test_the_server_ends_a_statement_a_moment_after_the_time_of_the_call(
    database: str, pgbouncer: bool
) -> None:
    for dsn, found in ((database, "4500ms"), (f"{database}?statement_timeout=7s", "7s")):
        connections = Connections(
            {"dsn": dsn}, place="the test", kept=1, extra=0, timeout=3.5, pgbouncer=pgbouncer
        )
        await connections.open()
        async with connections.reading() as connection:
            assert await connection.fetchval("SHOW statement_timeout") == ("4500ms" if pgbouncer else found)
        await connections.close()


@pytest.mark.asyncio
async def test_cancelling_at_any_moment_leaves_it_usable(database: str) -> None:
    async with PostgreSQLStorage(database, pool_size=2, max_overflow=0) as storage:
        await storage.store_interaction("ann", {"n": 0})
        for steps in range(15):
            for make in (
                lambda: storage.get_interactions("ann"),
                lambda: storage.get_agent_state("ann"),
                lambda: storage.store_agent_state("bob", {"n": 1}),
                lambda: storage.delete_agent("bob"),
                lambda: storage.delete_interactions("ann", keep_last=1),
            ):
                task: asyncio.Future[Any] = asyncio.ensure_future(make())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert await storage.get_interactions("ann") == [{"n": 0}]
        assert (await storage.health()).ok
        assert await storage.delete_agent("bob") is not None
