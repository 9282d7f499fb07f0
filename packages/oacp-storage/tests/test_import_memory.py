"""Importing takes little memory, however large the single interactions are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oacp_command import PROGRAM, environment

MIB = 1024 * 1024


def peak_of_import(directory: Path, size: int) -> int:
    """Bytes of memory that the command took at most, to import eight interactions of ``size`` bytes."""
    file = directory / f"{size}.jsonl"
    with file.open("w") as stream:
        for n in range(8):
            json.dump({"agent_id": f"agent {n % 3}", "interaction": {"n": n, "text": "x" * size}}, stream)
            stream.write("\n")
    program = subprocess.Popen(
        [*PROGRAM, "import", str(file), "--to", f"sqlite:///{directory}/{size}.db"],
        stdout=subprocess.DEVNULL,
        env=environment(),
    )
    _, status, used = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)  # it was waited for behind its back
    assert program.returncode == 0
    return used.ru_maxrss * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory is kept depends on the C library")
def test_large_interactions_stay_within_64_mib_of_small_ones(tmp_path: Path) -> None:
    extra = peak_of_import(tmp_path, 15 * MIB - 1000) - peak_of_import(tmp_path, 10)
    print(f"{extra / MIB:.1f} MiB")
    assert extra < 64 * MIB
