"""Clusters whose slots move and whose masters are replaced, sentinels, and replicas that must have a write."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from oacp_storage_conformance.load import assert_exactly_once, load, more
from oacp_storage_conformance.servers import RedisCluster, RedisServer
from oacp_storage_core import OutcomeUnknownError
from oacp_storage_redis import RedisStorage
from redis_tamper import tag_of


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def eventually(question: Any, wanted: object = True) -> None:
    async with asyncio.timeout(60):  # a sentinel looks at its servers every ten seconds
        while await asyncio.to_thread(question) != wanted:
            await asyncio.sleep(0.02)


def fails_over(sentinel: Any, service: str) -> bool:
    """Whether the sentinel knows its replicas well enough by now to begin."""
    try:
        sentinel.execute_command("SENTINEL", "FAILOVER", service)
    except redis.ResponseError:
        return False
    return True


def move_slot(cluster: RedisCluster, slot: int) -> None:
    """Move one slot to the next node as redis-cli does, key by key."""
    clients: list[Any] = [redis.Redis(port=node.port) for node in cluster.nodes]
    ids = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
    source = next(i for i in range(3) if slot in range(16384 * i // 3, 16384 * (i + 1) // 3))
    target = (source + 1) % 3
    clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    while keys := clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
        port = cluster.nodes[target].port
        clients[source].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
    for i in (target, source, 3 - target - source):
        clients[i].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
    for client in clients:
        client.close()


@pytest.mark.asyncio
async def test_slots_that_move_under_load(own_cluster: RedisCluster) -> None:
    async with RedisStorage(own_cluster.url, timeout=20) as storage:
        async with load(storage) as fate:
            for agent in range(5):
                await more(fate, 50)
                with redis.RedisCluster(host="127.0.0.1", port=own_cluster.nodes[0].port) as client:
                    slot = client.keyslot(tag_of("default", f"agent {agent}"))
                await asyncio.to_thread(move_slot, own_cluster, slot)
            await more(fate, 100)
        await assert_exactly_once(storage, fate)
        assert all(error is None for error in fate.values())


@pytest.mark.asyncio
async def test_a_master_of_the_cluster_is_replaced_by_its_replica(own_cluster: RedisCluster) -> None:
    first = own_cluster.nodes[0]
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with RedisServer(options=options) as spare, redis.Redis(port=spare.port) as client:
        with redis.Redis(port=first.port) as master:
            ident = master.execute_command("CLUSTER", "MYID").decode()
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)
            await eventually(lambda: ident in str(client.execute_command("CLUSTER", "NODES")))
            client.execute_command("CLUSTER", "REPLICATE", ident)
            await eventually(lambda: client.info("replication")["master_link_status"], "up")
        async with RedisStorage(own_cluster.url, timeout=20) as storage:
            async with load(storage) as fate:
                await more(fate, 100)
                client.execute_command("CLUSTER", "FAILOVER")
                await eventually(lambda: client.info("replication")["role"], "master")
                await more(fate, 100)
                first.process.kill()  # by now a replica
                await more(fate, 200)
            await assert_exactly_once(storage, fate)


@pytest.mark.asyncio
async def test_writes_wait_for_replicas(own_server: RedisServer) -> None:
    async with RedisStorage(own_server.url, min_replicas=1, timeout=3, response_timeout=1.0) as storage:
        assert any("min_replicas is 1" in warning for warning in (await storage.health()).warnings)
        with pytest.raises(OutcomeUnknownError, match="replicas"):
            await storage.store_interaction("ann", {"n": 1}, interaction_id="one")
        with RedisServer(options=("--replicaof", f"127.0.0.1 {own_server.port}")) as replica:
            with redis.Redis(port=replica.port) as client:
                await eventually(lambda: client.info("replication")["master_link_status"], "up")
                await storage.store_interaction("ann", {"n": 1}, interaction_id="one")
                await storage.store_interaction("ann", {"n": 2})
                assert client.xlen(f"{tag_of('default', 'ann')}:log:ann") == 2
            assert (await storage.health()).warnings == ()
        async with RedisStorage(own_server.url, namespace="other") as careless:
            await careless.store_interaction("ann", {})
            assert await storage.get_interactions("ann") == [{"n": 1}, {"n": 2}]


@pytest.mark.asyncio
async def test_health_names_what_could_be_lost(own_server: RedisServer) -> None:
    settings = {
        "appendfsync everysec": ("crash", "everysec"),
        "appendfsync no": ("crash", "half minute"),
        "appendonly no": ("none", "append-only file is off"),
    }
    with redis.Redis(port=own_server.port) as client:
        async with RedisStorage(own_server.url) as storage:
            health = await storage.health()
            assert (health.durability, health.warnings) == ("power-cut", ())
            client.config_set("maxmemory", "1gb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            (warning,) = (await storage.health()).warnings
            assert "allkeys-lru" in warning
            client.config_set("maxmemory", "0")
            for setting, (durability, words) in settings.items():
                client.config_set(*setting.split())
                health = await storage.health()
                assert health.durability == durability
                assert words in health.warnings[0]


@pytest.mark.asyncio
async def test_sentinels_lead_to_the_new_master(own_server: RedisServer) -> None:
    with RedisServer(options=("--replicaof", f"127.0.0.1 {own_server.port}")) as replica:
        with redis.Redis(port=replica.port) as client:
            await eventually(lambda: client.info("replication")["master_link_status"], "up")
        with (
            RedisServer.sentinel(own_server, "agents") as sentinel,
            redis.Redis(port=sentinel.port) as client,
        ):
            await eventually(lambda: len(client.execute_command("SENTINEL", "REPLICAS", "agents")), 1)
            url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/agents"
            async with RedisStorage(url, min_replicas=1, timeout=20) as storage:
                await storage.store_interaction("ann", {"n": 1})
                await eventually(lambda: fails_over(client, "agents"))
                with redis.Redis(port=replica.port) as promoted:
                    await eventually(lambda: promoted.info("replication")["role"], "master")
                await storage.store_interaction("ann", {"n": 2}, interaction_id="two")
                assert await storage.get_interactions("ann") == [{"n": 1}, {"n": 2}]
                with redis.Redis(port=replica.port) as promoted:
                    assert promoted.xlen(f"{tag_of('default', 'ann')}:log:ann") == 2
