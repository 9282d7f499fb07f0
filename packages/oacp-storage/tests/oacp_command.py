"""Running the ``oacp-storage`` command: in this process, or as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from oacp_storage.cli import main

PROGRAM = [sys.executable, "-m", "oacp_storage"]


class Ran(NamedTuple):
    """What a run of the command left."""

    status: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Ran:
    """The command in this process."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Ran(int(status), captured.out, captured.err)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, without what would configure the command; PYTHONPATH is put before its own."""
    ours = ("OACP_STORAGE", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    made = {**kept, **(extra or {})}
    if extra and "PYTHONPATH" in extra and "PYTHONPATH" in kept:
        made["PYTHONPATH"] = os.pathsep.join([extra["PYTHONPATH"], kept["PYTHONPATH"]])
    return made


def run(
    *arguments: str | Path,
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ran:
    """The command as a program of its own."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env=environment(env),
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
