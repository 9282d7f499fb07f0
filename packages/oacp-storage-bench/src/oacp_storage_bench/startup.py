"""What starting costs: importing core, and the help of the command, each in fresh processes with cached byte code."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from oacp_storage_bench.results import Row

STARTING = "starting"
_IMPORT = (
    "import asyncio, time; begun = time.perf_counter(); import oacp_storage_core; "
    "print((time.perf_counter() - begun) * 1e3)"
)


def measure_start(runs: int) -> list[Row]:
    """Milliseconds of each run, after one that compiled; the help only where the command is installed."""
    with tempfile.TemporaryDirectory(prefix="oacp-bench-") as cache:
        found = [_import(cache) for _ in range(runs + 1)]
        rows = [_row("start.import", "import oacp_storage_core, beyond asyncio", found)]
        command = Path(sysconfig.get_path("scripts")) / "oacp-storage"
        if command.exists():
            helped = [_help(command, cache) for _ in range(runs + 1)]
            rows.append(_row("start.help", "oacp-storage --help", helped))
    return rows


def _row(key: str, what: str, found: list[float]) -> Row:
    return Row(STARTING, "start", key, what, "ours", "oacp-storage", "ms", "none", "", found[1:])


def _import(cache: str) -> float:
    return float(subprocess.check_output([sys.executable, "-c", _IMPORT], env=_caching(cache)))


def _help(command: Path, cache: str) -> float:
    begun = time.perf_counter()
    subprocess.check_output([command, "--help"], env=_caching(cache))
    return (time.perf_counter() - begun) * 1e3


def _caching(cache: str) -> dict[str, str]:
    """The environment, in which byte code is kept in a directory of ours, whatever it says."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": cache}
