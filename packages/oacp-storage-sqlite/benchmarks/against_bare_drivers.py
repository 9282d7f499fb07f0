"""SQLiteStorage beside the bare drivers, in one run, in turns, at the same durability (WAL, synchronous=FULL).

    python benchmarks/against_bare_drivers.py [--rounds 5] [--bytes 1000] [--directory DIR] [--history] [--processes]

Every figure is calls a second, the median over the rounds; what stands beside it is its ratio to the bare driver
in the same rounds. The bare driver does what a careful program would do by hand: one table with the agent, a
sequence of its own, an id, the time and the payload as JSON, primary key (agent, sequence), no further index.
``--history`` adds reads and appends at up to 1,000,000 interactions, ``--processes`` ten processes on one store.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import aiosqlite
import msgspec

from oacp_storage_sqlite import SQLiteStorage

AGENTS = 20
INSERT = "INSERT INTO log VALUES (?, ?, ?, ?, CAST(? AS TEXT))"
TABLE = "CREATE TABLE log (agent TEXT, sequence INT, id TEXT, at_us INT, body TEXT, PRIMARY KEY (agent, sequence))"
encode = msgspec.json.Encoder().encode

Rates = dict[str, list[float]]


def payload(size: int, n: int) -> dict[str, object]:
    """A message of about ``size`` bytes of JSON."""
    return {"role": "user", "type": "message", "n": n, "score": 0.5, "content": "x" * max(size - 70, 0)}


class Bare:
    """sqlite3, used by hand, without a thread."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self.heads: dict[str, int] = {}
        self.connection = sqlite3.connect(path, isolation_level=None)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", TABLE):
            self.connection.execute(statement)

    def row(self, n: int) -> tuple[object, ...]:
        """The next row of one of the agents."""
        agent = f"agent {n % AGENTS}"
        sequence = self.heads[agent] = self.heads.get(agent, 0) + 1
        return agent, sequence, str(uuid4()), time.time_ns() // 1000, encode(payload(self.size, n))

    def append(self, count: int, batch: int) -> float:
        """Append ``count`` in commits of ``batch``; returns how many a second."""
        begun = time.perf_counter()
        for start in range(0, count, batch):
            rows = [self.row(n) for n in range(start, start + batch)]
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(INSERT, rows)
            self.connection.execute("COMMIT")
        return count / (time.perf_counter() - begun)

    def put(self, count: int) -> float:
        """Replace documents of 8 KB, one commit each."""
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS doc (agent TEXT PRIMARY KEY, version INT, body TEXT)"
        )
        begun = time.perf_counter()
        for n in range(count):
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute(
                "REPLACE INTO doc VALUES (?, ?, CAST(? AS TEXT))",
                (f"agent {n % 64}", n, encode(payload(8000, n))),
            )
            self.connection.execute("COMMIT")
        return count / (time.perf_counter() - begun)


async def bare_aiosqlite(path: Path, size: int, count: int) -> float:
    """One caller of aiosqlite: execute and commit, as its documentation shows it."""
    async with aiosqlite.connect(path) as connection:
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            TABLE.replace("TABLE", "TABLE IF NOT EXISTS"),
        ):
            await connection.execute(statement)
        begun = time.perf_counter()
        for n in range(count):
            row = ("agent", time.time_ns(), str(uuid4()), time.time_ns() // 1000, encode(payload(size, n)))
            await connection.execute(INSERT, row)
            await connection.commit()
        return count / (time.perf_counter() - begun)


async def callers(
    count: int, calls: int, call: Callable[[int, int], Awaitable[object]]
) -> tuple[float, list[float]]:
    """``count`` callers, each making its calls one after the other: calls a second, and all latencies."""
    latencies: list[float] = []

    async def caller(who: int) -> None:
        for n in range(calls // count):
            begun = time.perf_counter()
            await call(who, n)
            latencies.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*[caller(who) for who in range(count)])
    return calls // count * count / (time.perf_counter() - begun), sorted(latencies)


async def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Writes, in turns with the bare drivers."""
    size, rates, tails = arguments.bytes, Rates(), Rates()
    bare = Bare(directory / "bare.db", size)
    async with SQLiteStorage(directory / "ours.db") as storage:

        async def ours(
            name: str, count: int, calls: int, call: Callable[[int, int], Awaitable[object]]
        ) -> None:
            rate, latencies = await callers(count, calls, call)
            rates.setdefault(name, []).append(rate)
            middle, late = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
            tails.setdefault(name, []).append(late / middle)

        def append(who: int, n: int) -> Awaitable[object]:
            return storage.store_interaction(f"agent {who % AGENTS}", payload(size, n))

        versions: dict[int, int] = {}

        async def compare_and_set(who: int, n: int) -> None:
            versions[who] = await storage.store_agent_state(
                f"setter {who}", payload(8000, n), expected_version=versions.get(who, 0)
            )

        async def turn(who: int, n: int) -> None:
            four = [payload(size // 5, n)] * 4
            await storage.record_turn(f"agent {who % AGENTS}", interactions=four, state=payload(size // 5, n))

        for n in range(arguments.rounds):
            time.sleep(0.2)  # noqa: ASYNC251 - lets the disk settle
            rates.setdefault("bare single", []).append(bare.append(500, 1))
            aio = await bare_aiosqlite(directory / f"aio{n}.db", size, 500)
            rates.setdefault("aiosqlite single", []).append(aio)
            await ours("1 caller", 1, 500, append)
            rates.setdefault("bare batches of 64", []).append(bare.append(6400, 64))
            await ours("64 callers", 64, 6400, append)
            await ours("256 callers", 256, 10240, append)
            rates.setdefault("bare batch of 10,000", []).append(bare.append(10_000, 10_000))
            big = [payload(size, i) for i in range(10_000)]
            begun = time.perf_counter()
            await storage.store_interactions("batch", big)
            rates.setdefault("batch of 10,000", []).append(10_000 / (time.perf_counter() - begun))
            rates.setdefault("bare put of 8 KB", []).append(bare.put(300))
            await ours("64 compare-and-set of 8 KB", 64, 3200, compare_and_set)
            await ours("64 callers, turns", 64, 3200, turn)
            await ours("1 caller, turns", 1, 300, turn)
    limits = {
        "1 caller": ("bare single", "aiosqlite single"),
        "64 callers": ("bare batches of 64",),
        "256 callers": ("64 callers",),
        "batch of 10,000": ("bare batch of 10,000",),
        "64 compare-and-set of 8 KB": ("bare put of 8 KB",),
        "64 callers, turns": ("64 callers",),
        "1 caller, turns": ("1 caller",),
    }
    print(
        f"\n{'':28} {'a second':>10} {'min':>8} {'max':>8}  p99/p50  ratio in the same round (least, median, greatest)"
    )
    for name, values in rates.items():
        tail = f"{statistics.median(tails[name]):7.1f}" if name in tails else " " * 7
        ratios = [
            f"{_spread([a / b for a, b in zip(values, rates[limit], strict=True)])} of {limit}"
            for limit in limits.get(name, ())
        ]
        print(
            f"{name:28} {statistics.median(values):10,.0f} {min(values):8,.0f} {max(values):8,.0f}  {tail}  "
            f"{', '.join(ratios)}"
        )


def _spread(ratios: list[float]) -> str:
    """The least, the median and the greatest."""
    return f"{min(ratios):.2f} {statistics.median(ratios):.2f} {max(ratios):.2f}"


async def measure_history(arguments: argparse.Namespace, directory: Path) -> None:
    """Reads and appends as the history of five agents grows; the fastest of many, since nothing else compares."""
    size, stored, agents = arguments.bytes, 0, 5
    print(f"\n{'history':>10} {'last 100, ms':>14} {'append, us':>12}")
    async with SQLiteStorage(directory / "history.db") as storage:
        for length in (1_000, 100_000, 1_000_000):
            while stored < length:
                per_agent = min(1000, (length - stored) // agents)
                for who in range(agents):
                    batch = [payload(size, n) for n in range(per_agent)]
                    await storage.store_interactions(f"agent {who}", batch)
                stored += per_agent * agents
            for _ in range(20):
                await storage.get_interactions("agent 3", 100)
            reads, writes = [], []
            for _ in range(200):
                begun = time.perf_counter()
                await storage.get_interactions("agent 3", 100)
                reads.append(time.perf_counter() - begun)
            for n in range(400):
                begun = time.perf_counter()
                await storage.store_interaction(f"agent {n % agents}", payload(size, n))
                writes.append(time.perf_counter() - begun)
            read, write = min(reads), min(writes)
            print(f"{length:10,} {read * 1e3:14.2f} {write * 1e6:12.0f}")


WORKER = """
import asyncio, sys, time
from oacp_storage_sqlite import SQLiteStorage
async def main():
    async with SQLiteStorage(sys.argv[1]) as storage:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        done, until = 0, time.perf_counter() + float(sys.argv[3])
        async def caller(who):
            nonlocal done
            while time.perf_counter() < until:
                await storage.store_interaction(f"agent {who}", {"content": "x" * int(sys.argv[4])})
                done += 1
        await asyncio.gather(*[caller(who) for who in range(int(sys.argv[2]))])
        print(done)
asyncio.run(main())
"""


def measure_processes(arguments: argparse.Namespace, directory: Path) -> None:
    """Many processes on one store, 16 callers in each."""
    seconds = 4.0
    print(f"\n{'processes':>10} {'a second':>10} {'slowest/mean':>13}")
    for count in (1, 2, 4, 10):
        commandline = [
            sys.executable,
            "-c",
            WORKER,
            str(directory / f"p{count}.db"),
            "16",
        ]
        commandline += [str(seconds), str(arguments.bytes)]
        workers = [
            subprocess.Popen(commandline, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        for worker in workers:
            if worker.stdout is None or worker.stdout.readline() != "ready\n":
                raise RuntimeError("a worker did not start")
        with ThreadPoolExecutor(count) as pool:
            told = list(pool.map(lambda worker: worker.communicate("go\n")[0], workers))
        done = [int(one) for one in told]
        print(f"{count:10} {sum(done) / seconds:10,.0f} {min(done) / (sum(done) / count):13.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=1000)
    parser.add_argument(
        "--directory", type=Path, help="where to put the databases (default: the temporary directory)"
    )
    parser.add_argument("--history", action="store_true")
    parser.add_argument("--processes", action="store_true")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="oacp-sqlite-", dir=arguments.directory))
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, aiosqlite {aiosqlite.__version__}, "
        f"payloads of {arguments.bytes} bytes, {AGENTS} agents, in {directory}"
    )
    try:
        asyncio.run(measure(arguments, directory))
        if arguments.processes:
            measure_processes(arguments, directory)
        if arguments.history:
            asyncio.run(measure_history(arguments, directory))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
