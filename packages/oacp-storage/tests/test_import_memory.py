"""Importing takes little memory, however large the single interactions are.

A payload is there four times while it is written: as it was read, encoded, and twice within SQLite.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oacp_command import environment

MB = 1_000_000

MEASURED = """
import sys
from pathlib import Path
from oacp_storage.cli import main
main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""


def peak_of_import(directory: Path, size: int) -> int:
    """Bytes of memory that the command took at most, to import four interactions of ``size`` bytes."""
    file = directory / f"{size}.jsonl"
    with file.open("w") as stream:
        for n in range(4):
            json.dump({"agent_id": f"agent {n % 3}", "interaction": {"n": n, "text": "x" * size}}, stream)
            stream.write("\n")
    arguments = ["import", str(file), "--to", f"sqlite:///{directory}/{size}.db"]
    told = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "4 added" in told
    return int(told.split()[-1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory is kept depends on the C library")
def test_large_interactions_stay_within_64_mb_of_small_ones(tmp_path: Path) -> None:
    extra = peak_of_import(tmp_path, 14 * MB) - peak_of_import(tmp_path, 10)
    print(f"{extra / MB:.1f} MB")
    assert extra < 64 * MB
