"""What keeps lookup and payload rules cheap, counted: how long they take is shown by ``benchmarks/``.

A count does not depend on the machine. What would make it grow (a module that is imported at once, metadata that is
parsed without need, Python code that runs for every value) is what would make these slow.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import importlib_metadata
import pytest

from oacp_storage_core import available_backends, entry_points, load_backend
from oacp_storage_core.payload import decode, encode

PLUGINS = 200


def test_importing_the_core_brings_few_modules(tmp_path) -> None:
    code = "import sys, asyncio; before = set(sys.modules); import oacp_storage_core; print(*set(sys.modules) - before)"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    imported = run.stdout.split()
    others = [name for name in imported if not name.startswith(("oacp_storage_core", "msgspec"))]
    assert len(imported) <= 45, sorted(imported)
    assert len(others) <= 25, sorted(others)


@pytest.fixture
def reads(site, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Two hundred plugins are installed; which of their files are read is counted by name."""
    for i in range(PLUGINS):
        points = {"oacp_storage.backends": {f"store{i}": f"store_{i}:Store"}}
        modules = {f"store_{i}": "from oacp_storage_core import MemoryStorage as Store"}
        site.install(f"store-{i}", points, modules, noticed=False)
    counted: Counter[str] = Counter()
    read = importlib_metadata.PathDistribution.read_text

    def counting(distribution: importlib_metadata.PathDistribution, filename: Any) -> str | None:
        if str(distribution.locate_file("")) == str(site.folder):
            counted[str(filename)] += 1
        return read(distribution, filename)

    monkeypatch.setattr(importlib_metadata.PathDistribution, "read_text", counting)
    entry_points.scan(again=True)
    return counted


def test_a_scan_reads_one_small_file_of_each_plugin_and_imports_none(reads: Counter[str]) -> None:
    assert reads == {"entry_points.txt": PLUGINS}
    load_backend("store77")
    assert reads["entry_points.txt"] == PLUGINS
    assert sum(reads.values()) <= PLUGINS + 3  # of the chosen one, its name and version
    assert [name for name in sys.modules if name.startswith("store_")] == ["store_77"]


def test_a_list_reads_the_metadata_of_each_once(reads: Counter[str]) -> None:
    listed = [info for info in available_backends() if info.names[:1] and info.names[0].startswith("store")]
    assert len(listed) == PLUGINS
    assert reads["entry_points.txt"] == 2 * PLUGINS  # it scans anew
    assert reads["METADATA"] <= 2 * PLUGINS
    assert not [name for name in sys.modules if name.startswith("store_")]


def python_calls(work: Callable[[], object]) -> int:
    """How many Python functions are called while it works, but for those that the collection of garbage calls."""
    calls = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    gc.disable()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def costs(payload: dict[str, Any]) -> tuple[int, int]:
    """The Python calls of encoding it, and of decoding what that gave."""
    body, copy = encode(payload)
    assert copy == payload
    return python_calls(lambda: encode(payload)), python_calls(lambda: decode(body))


def test_the_payload_rules_call_python_at_most_once_for_each_container() -> None:
    flat = [costs({"texts": ["a", 1.5, None] * count, "more": {"n": 1}}) for count in (1, 10_000)]
    assert flat[0] == flat[1]
    inwards, outwards = flat[0]
    assert inwards <= 12
    assert outwards <= 5
    rows = 5_000
    nested = costs({"rows": [{"id": i, "name": f"row {i}", "value": i / 7} for i in range(rows)]})
    assert nested[0] <= rows + 12
    assert nested[1] == outwards
