"""Durable appends of FileStorage beside the leanest raw writing, interleaved in one run.

    python packages/oacp-storage-file/benchmarks/appends.py [DIRECTORY]

Raw is one file on the same disk: encode, write and fsync, one line or 64 lines at a time. Ratios are medians of five
rounds; the disk must be a real one, for on a RAM disk there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from oacp_storage_file import FileStorage

AGENTS = 20
ROUNDS = 5
encode = msgspec.json.encode


def payload(n: int, size: int = 1000) -> dict[str, Any]:
    """An interaction of about ``size`` bytes."""
    """An interaction of about ``size`` bytes."""
    return {"type": "message", "role": "assistant", "step": n, "content": "x" * (size - 60)}


def raw(directory: Path, appends: int, batch: int) -> float:
    """Appends a second into one file, ``batch`` lines for each fsync."""
    path = directory / "raw"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    begun = time.perf_counter()
    for start in range(0, appends, batch):
        os.write(fd, b"".join([encode(payload(n)) + b"\n" for n in range(start, start + batch)]))
        os.fsync(fd)
    seconds = time.perf_counter() - begun
    os.close(fd)
    path.unlink()
    return appends / seconds


async def stored(directory: Path, appends: int, callers: int, history: int = 0) -> float:
    """Appends a second through FileStorage, by so many callers over 20 agents."""
    async with FileStorage(directory / "store") as storage:
        for start in range(0, history, 1_000):
            await storage.store_interactions(
                "agent-0", [payload(n, 120) for n in range(start, start + 1_000)]
            )
        await storage.store_interaction("agent-0", payload(0))

        async def caller(number: int) -> None:
            for n in range(appends // callers):
                agent = 0 if history else (number + n) % AGENTS
                await storage.store_interaction(f"agent-{agent}", payload(n))

        begun = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(callers)))
        seconds = time.perf_counter() - begun
        if history:
            begun = time.perf_counter()
            for _ in range(200):
                await storage.get_interactions("agent-0", 100)
            print(f"  last 100 at {history:>9,}: {(time.perf_counter() - begun) / 200 * 1e3:.2f} ms")
    shutil.rmtree(directory / "store")
    return appends / seconds


def _process(directory: str, seconds: float, begin: Any, counts: Any) -> None:
    async def run() -> int:
        done = 0
        async with FileStorage(directory) as storage:
            await storage.open()
            begin.wait()
            end = time.perf_counter() + seconds

            async def caller(number: int) -> None:
                nonlocal done
                n = 0
                while time.perf_counter() < end:
                    await storage.store_interaction(f"agent-{(number + n) % AGENTS}", payload(n))
                    done += 1
                    n += 1

            await asyncio.gather(*(caller(number) for number in range(16)))
        return done

    counts.put(asyncio.run(run()))


def processes(directory: Path, count: int, seconds: float = 3.0) -> list[float]:
    """Appends a second of each of several processes on one store."""
    context = multiprocessing.get_context("spawn")
    begin, counts = context.Barrier(count), context.Queue()
    started = [
        context.Process(target=_process, args=(str(directory / "many"), seconds, begin, counts))
        for _ in range(count)
    ]
    for process in started:
        process.start()
    found = [counts.get() / seconds for _ in started]
    for process in started:
        process.join()
    shutil.rmtree(directory / "many")
    return found


def rounds(name: str, limit: Callable[[], float], ours: Callable[[], float]) -> None:
    """Print the median ratio of interleaved rounds, and its spread."""
    pairs = [(limit(), ours()) for _ in range(ROUNDS)]
    ratios = sorted(mine / best for best, mine in pairs)
    raw_rate, rate = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name}: {rate:,.0f}/s, raw {raw_rate:,.0f}/s, ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def main() -> None:
    """Run everything once, in a directory of its own."""
    """Measure everything in one run, interleaved, and print the table."""
    directory = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, {directory}"
    )
    try:
        rounds(
            "1 caller, against write + fsync",
            lambda: raw(directory, 1000, 1),
            lambda: asyncio.run(stored(directory, 1000, 1)),
        )
        rounds(
            "64 callers, against raw batches of 64",
            lambda: raw(directory, 12_800, 64),
            lambda: asyncio.run(stored(directory, 12_800, 64)),
        )
        for history in (1_000, 100_000, 1_000_000):
            print(f"appends at {history:,}: {asyncio.run(stored(directory, 2_000, 1, history)):,.0f}/s")
        one = sum(processes(directory, 1))
        ten = processes(directory, 10)
        print(
            f"1 process {one:,.0f}/s; 10 processes {sum(ten):,.0f}/s, slowest {min(ten) * 10 / sum(ten):.2f} of mean"
        )
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
