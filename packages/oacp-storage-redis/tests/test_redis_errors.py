"""What is wrong with a server is said in words, at once, and without the password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from oacp_storage_conformance.servers import RedisCluster, RedisServer
from oacp_storage_core import StorageConfigError, StorageConnectionError, StorageError, create_storage
from oacp_storage_redis import RedisStorage
from redis_testing import refused

SECRET = "open sesame/@:?"
QUOTED = "open%20sesame%2F%40%3A%3F"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    with RedisServer(options=("--requirepass", SECRET)) as server:
        yield server


@pytest.mark.asyncio
async def test_the_right_password_opens(guarded: RedisServer) -> None:
    for storage in (
        RedisStorage(f"redis://:{QUOTED}@127.0.0.1:{guarded.port}"),
        RedisStorage(guarded.url, password=SECRET),
        RedisStorage(guarded.url, username="default", password=SECRET),
    ):
        async with storage:
            assert (await storage.health()).ok
            assert "sesame" not in repr(storage)


@pytest.mark.asyncio
async def test_a_wrong_or_missing_password_is_refused(guarded: RedisServer) -> None:
    await refused(RedisStorage(guarded.url), StorageConnectionError, "asks for a password")
    await refused(
        RedisStorage(guarded.url, password="sesame"), StorageConnectionError, "refuses the password"
    )


@pytest.mark.asyncio
async def test_nobody_there_is_said_within_the_connect_timeout() -> None:
    begun = asyncio.get_running_loop().time()
    await refused(
        RedisStorage("redis://127.0.0.1:1", timeout=2), StorageConnectionError, "127.0.0.1:1 cannot"
    )
    assert asyncio.get_running_loop().time() - begun < 15


@pytest.mark.asyncio
async def test_a_database_that_is_not_there(oacp_redis_server: RedisServer) -> None:
    url = f"redis://127.0.0.1:{oacp_redis_server.port}"
    await refused(RedisStorage(f"{url}/99"), StorageConnectionError, "DB index is out of range")


@pytest.mark.asyncio
async def test_a_server_and_a_cluster_are_not_taken_for_each_other(
    oacp_redis_server: RedisServer, oacp_redis_cluster: RedisCluster
) -> None:
    cluster = oacp_redis_server.url.replace("redis://", "redis+cluster://")
    await refused(RedisStorage(cluster), StorageConfigError, "is no cluster: write redis://")
    for node in oacp_redis_cluster.nodes:
        await refused(RedisStorage(node.url), StorageConfigError, r"write redis\+cluster://")


@pytest.mark.asyncio
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(options=("--unixsocket", str(path))):
        async with create_storage(f"redis+unix://{path}?db=1") as storage:
            await storage.store_interaction("ann", {"n": 1})
            assert await storage.get_interactions("ann") == [{"n": 1}]
    await refused(RedisStorage(f"redis+unix://{path}"), StorageConnectionError, "cannot be reached")


@pytest.mark.asyncio
async def test_a_replica_is_refused_at_open(oacp_redis_server: RedisServer) -> None:
    with RedisServer(options=("--replicaof", f"127.0.0.1 {oacp_redis_server.port}")) as replica:
        await refused(RedisStorage(replica.url), StorageConnectionError, "is a replica")


@pytest.mark.asyncio
async def test_a_full_server_refuses_writes_and_lets_deletions_pass() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as admin:
        async with RedisStorage(server.url) as storage:
            await storage.store_interactions("ann", [{"text": "x" * 1000}] * 1000)
            admin.config_set("maxmemory", "1mb")
            with pytest.raises(StorageError, match="maxmemory"):
                await storage.store_interactions("bob", [{"n": n} for n in range(10)])
            assert await storage.list_agents() == ["ann"]
            assert (await storage.delete_agent("ann")).interactions == 1000
            admin.config_set("maxmemory", "0")
            await storage.store_interaction("ann", {})
            assert [one.sequence async for one in storage.iter_interactions("ann")] == [1001]


@pytest.mark.asyncio
async def test_a_user_without_permissions_is_told_which() -> None:
    with RedisServer() as server, redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "agent", "on", ">pw", "~other:*", "+@all")
        await refused(
            RedisStorage(server.url, username="agent", password="pw"), StorageConfigError, "permission"
        )
        admin.execute_command("ACL", "SETUSER", "agent", "~{oacp:*}*", "resetchannels")
        async with RedisStorage(server.url, username="agent", password="pw") as storage:
            await storage.store_interaction("ann", {"n": 1})  # nobody is woken, and nothing is lost
            assert await storage.get_interactions("ann") == [{"n": 1}]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RedisStorage("http://x"), "no URL of a Redis"),
        (lambda: RedisStorage("redis://a,b"), "several hosts"),
        (lambda: RedisStorage("redis://a:port"), "port"),
        (lambda: RedisStorage("redis://a/name"), "number of a database"),
        (lambda: RedisStorage("redis+sentinel://a"), "names no service"),
        (lambda: RedisStorage("redis+cluster://a/2"), "only database 0"),
        (lambda: RedisStorage("redis://a?nothing=1"), "nothing"),
        (lambda: RedisStorage("redis://a?protocol=3"), "protocol"),
        (lambda: RedisStorage(min_replicas=-1), "min_replicas"),
        (lambda: RedisStorage(pool_size=0), "pool_size"),
        (lambda: RedisStorage(pool_size="many"), "'pool_size' must be int"),  # type: ignore[arg-type]
        (lambda: RedisStorage(response_timeout=0), "response_timeout"),
        (lambda: RedisStorage.from_url("redis://a", redis_url="redis://b"), "redis_url"),
    ],
)
def test_configuration_errors_say_what_is_wrong(make: Callable[[], object], words: str) -> None:
    with pytest.raises(StorageConfigError, match=words):
        make()


@pytest.mark.parametrize("url", ["redis://u:s3c/ret@localhost:1", "redis://:s3c#ret@h:1"])
def test_a_piece_of_a_password_is_not_taken_for_a_port_and_shown(url: str) -> None:
    with pytest.raises(StorageConfigError, match="%2F") as caught:
        RedisStorage(url)
    assert "s3c" not in str(caught.value)
