"""commit.lua decides as ``oacp_storage_engine.judge`` does, for random groups of units."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from oacp_storage_conformance.servers import RedisServer
from oacp_storage_engine import Append, DocKind, Put, Snapshot, Unit, judge
from oacp_storage_redis.address import parse_address
from oacp_storage_redis.engine import RedisEngine

AGENTS = ["a", "b", "a:b", "{x}", "ä\n|,"]
KEYS = ["k", "l", "k,|"]
LATE = 2**53 - 5


def random_unit(rng: random.Random, next_id: Callable[[], str]) -> Unit:
    if rng.random() < 0.15:
        return Unit(None, (), (random_put(rng, DocKind.SYSTEM),))
    appends = []
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        given = rng.random() < 0.5
        appends.append(
            Append(
                rng.choice(["1", "2", "3", "4"]) if given else next_id(),
                given,
                rng.randrange(-100, 100),
                rng.choice([b'{"n":1}', b'{"n":2}']),
                rng.randrange(2**32),
                rng.choice([None] * 6 + [rng.randrange(1, 40), LATE]),
            )
        )
    kinds = [kind for kind in (DocKind.STATE, DocKind.LEARNING) if rng.random() < 0.4]
    puts = tuple(random_put(rng, kind) for kind in kinds)
    if not appends and not puts:
        return Unit("a", (), (random_put(rng, DocKind.STATE),))
    return Unit(rng.choice(AGENTS), tuple(appends), puts, turn=rng.random() < 0.3)


def random_put(rng: random.Random, kind: DocKind) -> Put:
    key = "" if kind is DocKind.STATE else rng.choice(KEYS)
    expected = rng.choice([None, None, 0, 1, 2, 3])
    if rng.random() < 0.2:
        return Put(kind, key, None, 0, 0, expected)
    version = rng.choice([None] * 6 + [rng.randrange(1, 9), 2**53 - 1])
    return Put(
        kind, key, b'{"d":%d}' % rng.randrange(9), rng.randrange(99), rng.randrange(2**32), expected, version
    )


@pytest.mark.asyncio
async def test_the_script_mirrors_the_judge(oacp_redis_server: RedisServer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    counter = iter(range(1_000_000))
    loop = asyncio.get_running_loop()
    for case in range(12):
        engine = RedisEngine(
            parse_address(oacp_redis_server.url, {}, {}),
            f"judge-{seed}-{case}",
            pool_size=5,
            min_replicas=0,
            connect_timeout=5,
            response_timeout=5,
            keep_receipts=600,
        )
        await engine.open()
        snapshot = Snapshot()
        logs: dict[str, dict[int, str]] = {}
        for group in range(25):
            units = [random_unit(rng, lambda: f"g{next(counter)}") for _ in range(rng.randrange(1, 8))]
            plan = judge(units, snapshot)
            of_lane: dict[int, list[int]] = {}
            for i, unit in enumerate(units):
                of_lane.setdefault(engine.lane_of(unit.slot), []).append(i)
            for positions in of_lane.values():
                sent = [units[i] for i in positions]
                found = await engine.commit(f"{case}-{group}", sent, deadline=loop.time() + 10)
                assert found == [plan.outcomes[i] for i in positions], (seed, case, group, sent)
            for row in plan.rows:
                logs.setdefault(row.agent, {})[row.sequence] = row.append.id
        for agent, log in logs.items():
            page = await engine.read_log(agent, 0, None, reverse=False, limit=10_000, max_bytes=1 << 30)
            assert {record.sequence: record.id for record in page.records} == log
            assert page.head == snapshot.heads[agent]
        assert [damage async for damage in engine.check()] == []
        await engine.close()
