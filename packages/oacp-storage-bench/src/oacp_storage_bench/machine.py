"""The machine and the disk, as far as they explain figures."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from oacp_storage_bench.results import Machine

PACKAGES = (
    "oacp-storage-bench",
    "oacp-storage-core",
    "oacp-storage-engine",
    "oacp-storage-file",
    "oacp-storage-sqlite",
    "oacp-storage-postgres",
    "oacp-storage-redis",
    "oacp-storage-mongo",
    "aiosqlite",
    "asyncpg",
    "redis",
    "motor",
    "pymongo",
    "msgspec",
)

_FSYNCS = 50
_CHUNK = 4 * 1024 * 1024


def machine(directory: Path) -> Machine:
    """What this machine is, with the directory's file system and what an fsync costs there (median, ms)."""
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=psutil.cpu_count() or 0,
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        load=round(psutil.getloadavg()[0], 2),
        directory=str(directory),
        file_system=file_system(directory),
        fsync_ms=round(_fsync_ms(directory), 2),
    )


def versions() -> dict[str, str]:
    """Python and what is installed of ours and of the drivers."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    found = {"Python": python, "SQLite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def file_system(directory: Path) -> str:
    """The type of the file system that the directory is on; ``tmpfs`` is none that endures."""
    mounts = {partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)}
    place = directory.resolve()
    return next((mounts[str(one)] for one in (place, *place.parents) if str(one) in mounts), "unknown")


def warm_up(directory: Path, seconds: float) -> None:
    """Write and sync for some time, then leave the disk alone as long: it is awake, and done with what came before.

    The file stays until the run's directory is deleted at the end, for discarding its blocks would slow others.
    """
    with (directory / "warm-up").open("wb") as file:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            file.write(os.urandom(_CHUNK))
            file.flush()
            os.fsync(file.fileno())
    time.sleep(seconds)


def _fsync_ms(directory: Path) -> float:
    found = []
    with (directory / "fsync").open("wb") as file:
        for _ in range(_FSYNCS):
            file.write(b"x" * 1000)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            found.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(found)


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
