"""What networks and servers do in the middle of calls: every acknowledged write is there exactly once."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from mongo_testing import MongoProxy, name_of, sockets_left_by_pymongo
from oacp_storage_conformance.load import assert_exactly_once, load, more, until_stored, whole_log
from oacp_storage_conformance.servers import MongoServer, once
from oacp_storage_core import OutcomeUnknownError, StorageError, StorageTimeoutError
from oacp_storage_mongo import MongoStorage

DRIVERS = ("motor", "pymongo")
pytestmark = sockets_left_by_pymongo


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_later_tests() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def proxy(oacp_mongo_server: MongoServer) -> Iterator[MongoProxy]:
    if not oacp_mongo_server.controllable:
        pytest.skip("needs a server of our own, whose port is known")
    with MongoProxy(oacp_mongo_server.ports[0]) as proxy:
        yield proxy


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    return name_of(request)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_request_that_is_cut_is_sent_again(proxy: MongoProxy, namespace: str, driver: Any) -> None:
    async with MongoStorage(proxy.url, namespace=namespace, driver=driver) as storage:
        await storage.store_interaction("ann", {"n": 1})
        proxy.on_request = once(lambda data: b"hello world" in data)
        await storage.store_interaction("ann", {"n": "hello world"})
        assert await storage.get_interactions("ann") == [{"n": 1}, {"n": "hello world"}]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_write_whose_reply_is_cut_happens_once(
    proxy: MongoProxy, namespace: str, driver: Any
) -> None:
    """The reply to each statement of each call is lost once, that to the commit of a transaction included."""
    async with MongoStorage(proxy.url, namespace=namespace, driver=driver) as storage:
        await storage.store_agent_state("ann", {"n": 1})
        await storage.store_interaction("ann", {"n": "first"})
        calls: dict[str, tuple[bytes, Any]] = {
            "append": (b"insert\0", lambda: storage.store_interaction("ann", {"n": "append"})),
            "batch": (
                b"commitTransaction\0",
                lambda: storage.store_interactions("ann", [{"n": "batch"}] * 3),
            ),
            "state": (
                b"commitTransaction\0",
                lambda: storage.store_agent_state("ann", {"n": 2}, expected_version=1),
            ),
            "delete": (b"commitTransaction\0", lambda: storage.delete_interactions("ann", keep_last=2)),
            "erase": (b"commitTransaction\0", lambda: storage.delete_agent("ann")),
        }
        found = {}
        for name, (command, call) in calls.items():
            sent = False

            def see(data: bytes, command: bytes = command) -> bool:
                nonlocal sent
                sent = sent or command in data
                return True

            def lose(_data: bytes) -> bool:
                nonlocal sent
                lost, sent = sent, False
                if lost:
                    proxy.on_request = lambda _data: True
                return not lost

            proxy.on_request, proxy.on_reply = see, lose
            found[name] = await call()
            assert proxy.on_request is not see, f"no reply was lost during {name}"
        assert found["state"] == 2
        assert found["delete"] == 3
        assert (found["erase"].interactions, found["erase"].states) == (2, 1)
        await storage.store_interaction("ann", {})
        assert [one.sequence for one in await whole_log(storage, "ann")] == [6]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_calls_over_a_half_open_connection_end_in_time(
    proxy: MongoProxy, namespace: str, driver: Any
) -> None:
    storage = MongoStorage(
        proxy.url, namespace=namespace, driver=driver, timeout=1.5, response_timeout=0.5, connect_timeout=0.5
    )
    async with storage:
        await until_stored(storage, "ann", 1)
        proxy.frozen = True
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(OutcomeUnknownError):
            await storage.store_interaction("ann", {"n": 2})
        with pytest.raises(StorageTimeoutError):  # the id is looked up first, so that nothing was written
            await storage.store_interaction("ann", {"n": 2}, interaction_id="two")
        with pytest.raises(StorageTimeoutError):
            await storage.get_interactions("ann")
        assert loop.time() - begun < 10
        proxy.frozen = False
        proxy.cut()
        async with asyncio.timeout(60):
            while True:
                try:
                    await storage.store_interaction("ann", {"n": 3}, interaction_id="three")
                except StorageError:
                    continue
                break
        found = await storage.get_interactions("ann")
        assert found[0] == {"n": 1}
        assert found[-1] == {"n": 3}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_server_restarted_under_load_loses_and_doubles_nothing(driver: Any) -> None:
    with MongoServer() as server:
        async with MongoStorage(server.url, driver=driver, timeout=30, connect_timeout=2) as storage:
            async with load(storage) as fate:
                for crash in (True, False):
                    await more(fate, 100)
                    await asyncio.to_thread(server.restart, crash=crash)
                await more(fate, 100)
            await assert_exactly_once(storage, fate)


@pytest.mark.asyncio
async def test_a_primary_that_is_killed_loses_and_doubles_nothing(
    oacp_mongo_replica_set: MongoServer, namespace: str
) -> None:
    servers = oacp_mongo_replica_set
    async with MongoStorage(servers.url, namespace=namespace, timeout=60, connect_timeout=5) as storage:
        async with load(storage) as fate:
            await more(fate, 100)
            killed = await asyncio.to_thread(servers.primary)
            await asyncio.to_thread(servers.nodes[killed].kill)
            await more(fate, 100)
            await asyncio.to_thread(servers.start_node, killed)
            await more(fate, 100)
        await assert_exactly_once(storage, fate)
        assert sum(error is None for error in fate.values()) >= 300 - 10


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_cancelling_at_any_moment_leaves_it_usable(
    oacp_mongo_server: MongoServer, namespace: str, driver: Any
) -> None:
    async with MongoStorage(
        oacp_mongo_server.url, namespace=namespace, driver=driver, pool_size=2
    ) as storage:
        await storage.store_interaction("ann", {"n": 0})
        for steps in range(12):
            for make in (
                lambda: storage.get_interactions("ann"),
                lambda: storage.store_agent_state("ann", {"n": 1}),
                lambda: storage.delete_agent("bob"),
            ):
                task: asyncio.Future[Any] = asyncio.ensure_future(make())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert await storage.get_interactions("ann") == [{"n": 0}]
        assert (await storage.health()).ok


@pytest.mark.asyncio
async def test_who_waits_for_a_busy_pool_waits_no_longer_than_the_timeout(
    proxy: MongoProxy, namespace: str
) -> None:
    """Reads wait for one of the connections that others hold; what they wait for is bounded."""
    async with MongoStorage(
        proxy.url, namespace=namespace, driver="pymongo", pool_size=1, timeout=1.0, response_timeout=20
    ) as storage:
        await until_stored(storage, "ann", 1)
        proxy.frozen = True
        try:
            answers = await asyncio.gather(
                *[storage.get_interactions("ann") for _ in range(5)], return_exceptions=True
            )
        finally:
            proxy.frozen = False
            proxy.cut()
        assert [type(answer) for answer in answers] == [StorageTimeoutError] * 5
        async with asyncio.timeout(30):
            while not (await storage.health()).ok:
                await asyncio.sleep(0.05)
        assert await storage.get_interactions("ann") == [{"n": 1}]
