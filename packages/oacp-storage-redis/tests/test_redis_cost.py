"""What a call costs when a history is long, and that the README speaks true."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
import redis

from oacp_storage_conformance.servers import RedisServer
from oacp_storage_redis import RedisStorage

README = (Path(__file__).parent.parent / "README.md").read_text()
LONG = int(os.environ.get("OACP_TEST_REDIS_HISTORY", "100000"))
"""How long the long history is; 1000000 takes some minutes."""


def spent(client: Any) -> float:
    """Microseconds that the server has spent in scripts since the last reset; it does not count what others do."""
    usec: float = client.info("commandstats")["cmdstat_evalsha"]["usec"]
    return usec


@pytest.mark.asyncio
async def test_cost_does_not_grow_with_the_history() -> None:
    """Compared is the server's own time for the same calls, in turns, the best of some rounds.

    What grows with the history would cost a hundred times as much; that a long one is more seldom in the processor's
    cache may cost twice as much. The server rewrites no file meanwhile: the process that it forks for it makes every
    write copy memory.
    """
    lengths = {"short": 1000, "long": LONG}
    appends: dict[str, float] = dict.fromkeys(lengths, float("inf"))
    reads = dict(appends)
    options = ("--auto-aof-rewrite-percentage", "0")
    with RedisServer(options=options) as server, redis.Redis(port=server.port) as client:
        async with RedisStorage(server.url) as storage:
            for agent, length in lengths.items():
                for done in range(0, length, 10_000):
                    batch = [{"n": 1, "text": "x" * 100}] * min(length - done, 10_000)
                    await storage.store_interactions(agent, batch)
            for n in range(40):
                for agent in lengths:
                    client.config_resetstat()
                    payload = {"n": n, "text": "y" * 100}
                    await asyncio.gather(*[storage.store_interaction(agent, payload) for _ in range(20)])
                    appends[agent] = min(appends[agent], spent(client))
                    client.config_resetstat()
                    assert len(await storage.get_interactions(agent, 100)) == 100
                    reads[agent] = min(reads[agent], spent(client))
    for what, costs in {"20 appends": appends, "the last 100": reads}.items():
        print(f"{what}: {costs['short']:.0f} us at 1,000, {costs['long']:.0f} us at {LONG:,}")
        assert costs["long"] < 4 * costs["short"], what


@pytest.mark.asyncio
async def test_the_readme_example_is_a_program() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with RedisServer() as server:
        names: dict[str, Any] = {}
        exec(program.replace("localhost:6379", f"127.0.0.1:{server.port}").partition("asyncio.run")[0], names)
        await names["main"]()
        async with RedisStorage(server.url) as storage:
            assert await storage.get_interactions("alice") == [{"role": "user", "content": "hello"}]


@pytest.mark.asyncio
async def test_a_user_with_the_rights_of_the_readme_can_do_everything() -> None:
    (rights,) = re.findall(r"ACL SETUSER (.*)", README)
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", *rights.split())
        async with RedisStorage(server.url, username="agent", password="password") as storage:
            await storage.record_turn("ann", interactions=[{"n": 1}], state={"n": 1}, learning={"k": {}})
            await storage.store_system_state("key", {"n": 1})
            assert await storage.delete_interactions("ann", keep_last=0) == 1
            assert (await storage.delete_agent("ann")).states == 1
            assert (await storage.health()).durability == "power-cut"
            assert [damage async for damage in storage.verify()] == []
            watching = storage.watch_interactions("ann", after=0)
            await storage.store_interaction("ann", {"n": 2})
            assert (await anext(watching)).sequence == 2
