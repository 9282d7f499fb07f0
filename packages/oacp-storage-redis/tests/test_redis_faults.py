"""What networks and servers do in the middle of calls: every acknowledged write is there exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from oacp_storage_conformance.load import assert_exactly_once, load, more, until_stored, whole_log
from oacp_storage_conformance.servers import RedisServer, once
from oacp_storage_conformance.servers.redis import command
from oacp_storage_core import OutcomeUnknownError, StorageError, StorageTimeoutError
from oacp_storage_redis import RedisStorage
from redis_testing import RedisProxy, refused


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return "".join(c if c.isalnum() else "-" for c in name.lower())[:64]


@pytest.fixture
def proxy(oacp_redis_server: RedisServer) -> Iterator[RedisProxy]:
    with RedisProxy(oacp_redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def is_commit(data: bytes) -> bool:
    return b"EVALSHA" in data and b"hello" in data


@pytest.mark.asyncio
async def test_a_request_that_is_cut_is_sent_again(proxy: RedisProxy, namespace: str) -> None:
    async with RedisStorage(proxy.url, namespace=namespace) as storage:
        await storage.store_interaction("ann", {"n": 1})
        proxy.on_request = once(is_commit)
        await storage.store_interaction("ann", {"n": "hello"})
        assert await storage.get_interactions("ann") == [{"n": 1}, {"n": "hello"}]


@pytest.mark.asyncio
async def test_a_write_whose_reply_is_cut_happens_once(proxy: RedisProxy, namespace: str) -> None:
    async with RedisStorage(proxy.url, namespace=namespace) as storage:
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
            proxy.on_reply = once(lambda _data: True)
            found[name] = await call()
        assert found["state"] == 2
        assert found["delete"] == 2
        assert (found["erase"].interactions, found["erase"].states) == (2, 1)
        await storage.store_interaction("ann", {})
        assert [one.sequence for one in await whole_log(storage, "ann")] == [5]


@pytest.mark.asyncio
async def test_calls_over_a_half_open_connection_end_in_time(proxy: RedisProxy, namespace: str) -> None:
    storage = RedisStorage(
        proxy.url, namespace=namespace, timeout=3.0, response_timeout=0.5, connect_timeout=0.5
    )
    async with storage:
        await storage.store_interaction("ann", {"n": 1})
        proxy.frozen = True
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(OutcomeUnknownError):
            await storage.store_interaction("ann", {"n": 2}, interaction_id="two")
        with pytest.raises(StorageTimeoutError):
            await storage.get_interactions("ann")
        assert loop.time() - begun < 20
        proxy.frozen = False
        await until_stored(storage, "ann", 3)
        assert (await storage.health()).ok
        found = await storage.get_interactions("ann")
        assert found[0] == {"n": 1}
        assert found[-1] == {"n": 3}


@pytest.mark.asyncio
async def test_an_attempt_that_arrives_late_is_refused(
    oacp_redis_server: RedisServer, proxy: RedisProxy, namespace: str
) -> None:
    """A command stuck in the network reaches the server after its sender gave it up and wrote something else."""
    stuck: list[bytes] = []
    storage = RedisStorage(proxy.url, namespace=namespace, timeout=3.0, response_timeout=0.5)
    async with storage:
        await storage.store_interaction("ann", {"n": 1})

        def swallow(data: bytes) -> bool:
            if is_commit(data):
                stuck.append(data)
                return False
            return True

        proxy.on_request = swallow
        with pytest.raises(OutcomeUnknownError):
            await storage.store_interaction("ann", {"n": "hello"})
        proxy.on_request = lambda _data: True
        await storage.store_interaction("ann", {"n": 2})
        reader, writer = await asyncio.open_connection("127.0.0.1", oacp_redis_server.port)
        writer.write(stuck[0])
        reply = await reader.read(1000)
        writer.close()
        await writer.wait_closed()
        assert reply.startswith(b"-OACPSTALE")
        assert await storage.get_interactions("ann") == [{"n": 1}, {"n": 2}]


@pytest.mark.asyncio
async def test_a_server_restarted_under_load_loses_and_doubles_nothing(own_server: RedisServer) -> None:
    async with RedisStorage(own_server.url, timeout=10) as storage:
        async with load(storage) as fate:
            for crash in (True, False, True):
                await more(fate, 200)
                await asyncio.to_thread(own_server.restart, crash=crash)
            await more(fate, 200)
        await assert_exactly_once(storage, fate)


def rewrite_its_file(server: RedisServer) -> None:
    """Have the server write its append-only file anew, as a snapshot: of that it loads key by key."""
    with redis.Redis(port=server.port) as client:
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)  # polling another process


@pytest.mark.asyncio
async def test_calls_wait_while_a_restarted_server_loads_its_data() -> None:
    """The server delays each key that it loads, and answers LOADING meanwhile, until it is told not to delay."""
    slowly = ("--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024")
    with RedisServer(options=slowly) as server:
        async with RedisStorage(server.url, timeout=30) as storage:
            for n in range(100):
                await storage.store_interaction(f"agent {n}", {"n": n, "text": "x" * 1000})
            await asyncio.to_thread(rewrite_its_file, server)
            restarting = asyncio.ensure_future(asyncio.to_thread(server.restart, crash=True))
            while not (await asyncio.to_thread(command, server.port, "PING")).startswith("-LOADING"):
                assert not restarting.done(), "it was loaded before anybody could ask"
            storing = asyncio.ensure_future(storage.store_interaction("agent 7", {"n": 100}))
            reading = asyncio.ensure_future(storage.get_interactions("agent 7"))
            deleting = asyncio.ensure_future(storage.delete_interactions("agent 8", keep_last=0))
            hasty = RedisStorage(server.url, timeout=1.6)
            await refused(hasty, StorageError, "loading its data into memory|within 1.6 s")
            assert not restarting.done(), "it was loaded before anybody could ask"
            assert (
                await asyncio.to_thread(command, server.port, "CONFIG", "SET", "key-load-delay", "0") == "+OK"
            )
            await asyncio.gather(restarting, storing)
            assert (await reading)[0]["n"] == 7
            assert await deleting == 1
            assert [one.data["n"] for one in await whole_log(storage, "agent 7")] == [7, 100]


@pytest.mark.asyncio
async def test_callers_share_a_small_pool_and_wait_no_longer_than_their_timeout(
    proxy: RedisProxy, namespace: str
) -> None:
    storage = RedisStorage(
        proxy.url,
        namespace=namespace,
        pool_size=2,
        timeout=1.0,
        response_timeout=5.0,
        connect_timeout=5.0,
    )
    async with storage:
        await storage.store_interaction("ann", {"n": 1})
        for found in await asyncio.gather(*(storage.get_interactions("ann") for _ in range(30))):
            assert found == [{"n": 1}]
        assert proxy.accepted <= 2 + 1, "a group commit takes no place from the readers"
        proxy.frozen = True
        begun = asyncio.get_running_loop().time()
        reads = [storage.get_interactions("ann") for _ in range(20)]
        for error in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(error, StorageTimeoutError), error
        assert asyncio.get_running_loop().time() - begun < 20
        proxy.frozen = False
        assert await storage.get_interactions("ann") == [{"n": 1}]
