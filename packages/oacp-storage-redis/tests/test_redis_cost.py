"""What a call costs when a history is long, and that the README speaks true."""

from __future__ import annotations

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
    """Compared is the server's own time for the same calls, the best of some rounds.

    The server rewrites no file meanwhile: the process that it forks for it makes every write copy memory.
    """
    costs: dict[str, dict[int, float]] = {"append": {}, "last 100": {}}
    options = ("--auto-aof-rewrite-percentage", "0")
    with RedisServer(options=options) as server, redis.Redis(port=server.port) as client:
        async with RedisStorage(server.url) as storage:
            for length in (1000, LONG):
                while missing := length - await storage.count_interactions("ann"):
                    await storage.store_interactions(
                        "ann", [{"n": 1, "text": "x" * 100}] * min(missing, 10_000)
                    )
                for name, of_length in costs.items():
                    best = float("inf")
                    for _ in range(40):
                        client.config_resetstat()
                        for n in range(10):
                            if name == "append":
                                await storage.store_interaction("ann", {"n": n, "text": "y" * 100})
                            else:
                                assert len(await storage.get_interactions("ann", 100)) == 100
                        best = min(best, spent(client))
                    of_length[length] = best
    print(costs)
    for name, of_length in costs.items():
        assert of_length[LONG] < 1.6 * of_length[1000], (name, of_length)


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
