"""What finding backends costs: importing core, scanning 200 installed plugins, listing them with versions.

    python packages/oacp-storage-core/benchmarks/lookup.py

Each figure is the median of several fresh processes, with byte code cached, in milliseconds. The limits: importing
core 20 ms beyond ``import asyncio``, a scan 40 ms, a list with versions 80 ms. Both of the latter are given with
the import of importlib-metadata that a first lookup needs, and without it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_PLUGINS = 200
_RUNS = 15

_IMPORT = """
import asyncio, time
start = time.perf_counter()
import oacp_storage_core
print((time.perf_counter() - start) * 1000)
"""

_SCAN = """
import asyncio, sys, time, oacp_storage_core
{first}
sys.path.insert(0, {folder!r})
start = time.perf_counter()
from oacp_storage_core.entry_points import lookup
found = lookup("oacp_storage.backends", "store77+tls")
print((time.perf_counter() - start) * 1000)
assert [offer.target for offer in found] == ["store_77:Store"], found
assert not [name for name in sys.modules if name.startswith("store_")]
"""

_LIST = """
import asyncio, sys, time, oacp_storage_core
{first}
sys.path.insert(0, {folder!r})
start = time.perf_counter()
listed = oacp_storage_core.available_backends()
print((time.perf_counter() - start) * 1000)
assert len([info for info in listed if info.version == "1.0.77" and info.problem is None]) == 1
assert not [name for name in sys.modules if name.startswith("store_")]
"""

_FIRST = "import importlib_metadata; list(importlib_metadata.distributions())"


def install(folder: Path) -> None:
    """Lay out the plugins as a wheel's installation does, each with a description of usual length."""
    for i in range(_PLUGINS):
        info = folder / f"oacp_store_{i}-1.0.{i}.dist-info"
        info.mkdir()
        head = [f"Metadata-Version: 2.1\nName: oacp-store-{i}\nVersion: 1.0.{i}"]
        head += [f"Classifier: Topic :: Database :: {n}" for n in range(15)]
        description = ["A line of the description, about as long as lines are."] * 120
        info.joinpath("METADATA").write_text("\n".join([*head, "", *description]))
        info.joinpath("entry_points.txt").write_text(
            f"[console_scripts]\nstore{i} = store_{i}:main\n\n"
            f"[oacp_storage.backends]\nstore{i} = store_{i}:Store\nstore{i}+tls = store_{i}:Store\n"
        )
        info.joinpath("RECORD").write_text("")
        folder.joinpath(f"store_{i}.py").write_text("raise AssertionError('a scan imports nothing')")


def measured(code: str, caches: Path) -> float:
    """The median of what fresh processes print."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(caches)
    figures = []
    for _ in range(_RUNS + 1):
        command = [sys.executable, "-c", code]
        figures.append(float(subprocess.check_output(command, env=environment)))
    return statistics.median(figures[1:])  # the first one wrote the byte code


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "plugins")
        folder.mkdir()
        install(folder)
        caches = Path(temporary, "caches")
        sys.stdout.write(f"Python {sys.version.split()[0]}, {_PLUGINS} plugins, milliseconds\n")
        for what, code, first, limit in (
            ("import core, beyond asyncio", _IMPORT, "", 20),
            ("scan, importlib-metadata imported", _SCAN, _FIRST, 40),
            ("scan, first in the process", _SCAN, "", 40),
            ("list, importlib-metadata imported", _LIST, _FIRST, 80),
            ("list, first in the process", _LIST, "", 80),
        ):
            figure = measured(code.format(first=first, folder=str(folder)), caches)
            verdict = "ok" if figure <= limit else "OVER"
            sys.stdout.write(f"{what:36}{figure:7.1f}  of {limit}  {verdict}\n")


if __name__ == "__main__":
    main()
