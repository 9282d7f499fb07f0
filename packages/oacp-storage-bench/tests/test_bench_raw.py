"""Each bare driver does what it is measured doing, and leaves nothing behind on a server."""

from __future__ import annotations

import contextlib

import pytest

from bench_samples import place
from oacp_storage_bench.payloads import message
from oacp_storage_bench.raw import Raw, Unavailable, raws_of
from oacp_storage_bench.raw.base import driver
from oacp_storage_conformance.servers import MongoServer, PostgresServer, RedisServer


async def prove(raw: Raw) -> None:
    await raw.open()
    try:
        assert raw.settings
        await raw.append([("alice", message(0))])
        await raw.append([("alice" if n % 2 else "bob", message(n)) for n in range(64)], raw.lanes - 1)
        assert await raw.count() == 65
        await raw.bulk([("carol", message(n)) for n in range(500)])
        assert await raw.count() == 565
        assert await raw.get("state") is None
        await raw.put("state", message(1, 8_000))
        await raw.put("state", message(2, 8_000))
        assert await raw.get("state") == message(2, 8_000)
        if raw.reads_logs:
            assert await raw.last("carol", 100) == [message(n) for n in range(400, 500)]
            assert await raw.last("alice", 2) == [message(61), message(63)]
    finally:
        await raw.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("family", ["file", "sqlite"])
async def test_embedded(family, tmp_path):
    raws = raws_of(place(family, tmp_path))
    assert raws
    for raw in raws:
        await prove(raw)
        assert raw.durability == "power-cut"


@pytest.mark.asyncio
async def test_redis(oacp_redis_server: RedisServer, tmp_path):
    (raw,) = raws_of(place("redis", tmp_path, oacp_redis_server.url))
    await prove(raw)
    assert raw.settings == "AOF always"
    assert raw.durability == "power-cut"
    client = driver("redis.asyncio", "redis").Redis.from_url(oacp_redis_server.url)
    assert await client.keys(f"{raw.place.name}*") == []
    await client.aclose()


@pytest.mark.asyncio
async def test_the_durability_of_redis_is_what_its_settings_say(tmp_path):
    with RedisServer(options=("--appendfsync", "everysec")) as server:
        (raw,) = raws_of(place("redis", tmp_path, server.url))
        await prove(raw)
        assert (raw.durability, raw.settings) == ("crash", "AOF everysec")


@pytest.mark.asyncio
async def test_a_cluster_is_not_compared_with_a_single_server(tmp_path):
    (raw,) = raws_of(place("redis", tmp_path, "redis+cluster://127.0.0.1:7000"))
    with pytest.raises(Unavailable, match="single Redis servers"):
        await raw.open()


@pytest.mark.asyncio
async def test_postgres(oacp_postgres_server: PostgresServer, tmp_path):
    asyncpg = pytest.importorskip("asyncpg", reason="asyncpg comes with oacp-storage-postgres")
    (raw,) = raws_of(place("postgres", tmp_path, oacp_postgres_server.url))
    await prove(raw)
    assert raw.durability == "power-cut"
    connection = await asyncpg.connect(oacp_postgres_server.url)
    left = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'oacp_bench%'")
    await connection.close()
    assert left == []


@pytest.mark.asyncio
async def test_mongo(oacp_mongo_server: MongoServer, tmp_path):
    pymongo = pytest.importorskip("pymongo", reason="pymongo comes with oacp-storage-mongo")
    (raw,) = raws_of(place("mongo", tmp_path, oacp_mongo_server.url))
    await prove(raw)
    with contextlib.closing(pymongo.MongoClient(oacp_mongo_server.url)) as client:
        assert not [name for name in client.list_database_names() if name.startswith("oacp_bench")]


def test_a_store_of_others_has_no_raw_part(tmp_path):
    assert raws_of(place("somebodys", tmp_path)) == []


def test_a_missing_driver_is_told_with_what_to_install():
    with pytest.raises(Unavailable, match="pip install something"):
        driver("no_such_driver_anywhere", "something")
