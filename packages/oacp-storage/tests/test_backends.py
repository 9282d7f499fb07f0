"""``oacp-storage backends``: what is installed, and what is broken, each by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oacp_command import call, run

Capture = pytest.CaptureFixture[str]


def test_backends(capsys: Capture) -> None:
    ran = call(capsys, "backends")
    assert (ran.status, ran.err) == (0, "")
    rows = {line.split()[0].rstrip(","): line for line in ran.out.splitlines()}
    assert {"memory", "file", "sqlite"} <= set(rows)
    assert rows["memory"].split()[-3:] == ["no", "one", "all"]
    assert rows["sqlite"].split()[-3:] == ["yes", "many", "all"]
    listed = {
        name: one for one in json.loads(call(capsys, "backends", "--json").out) for name in one["names"]
    }
    assert listed["file"]["distribution"] == "oacp-storage-file"
    assert listed["file"]["durable"] is True
    assert listed["file"]["problem"] is None
    assert "history" in listed["file"]["capabilities"]


def install(site: Path, name: str, points: str) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(f"[oacp_storage.backends]\n{points}")


def test_broken_backends_are_told_of_once_and_by_name(tmp_path: Path) -> None:
    install(tmp_path, "a", "shared = mine:Mine\nbad_name = mine:Mine\nmine = mine:Mine\n")
    install(tmp_path, "b", "shared = other:Backend\ngone = nowhere_to_be_found:Backend\n")
    tmp_path.joinpath("mine.py").write_text("from oacp_storage_core import MemoryStorage as Mine\n")
    listed = run("backends", env={"PYTHONPATH": str(tmp_path)})
    assert listed.status == 0, listed.err
    rows = {line.split()[0]: line for line in listed.out.splitlines() if line.strip()}
    assert rows["mine"].endswith("all")
    assert rows["bad_name"].endswith("broken, see below")
    broken = [line.removeprefix("broken: ") for line in listed.out.splitlines() if "broken: " in line]
    rule = "[a-z][a-z0-9+.-]*"
    assert broken == [
        f"backend 'bad_name' of a 1.0: the name 'bad_name' cannot be looked up: it must match {rule}",
        "backend 'gone' of b 1.0: the module 'nowhere_to_be_found' is not there; reinstall it",
        "the name 'shared' is claimed twice: by a 1.0 (mine:Mine) and b 1.0 (other:Backend)",
    ]
