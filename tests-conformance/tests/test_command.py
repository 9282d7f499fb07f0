"""``oacp-storage conformance STORAGE``, and what it leaves of other people's data."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from oacp_storage_core import ALL_CAPABILITIES

COMMAND = [sys.executable, "-m", "oacp_storage_conformance.command"]


def run(*arguments, cwd, command=COMMAND, **env):
    return subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "COLUMNS": "200", **env},
    )


def test_the_command_grades_a_storage(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\nfilterwarnings = nonsense\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('not mine to load')\n")
    done = run(
        "memory://x", "--json", "grade.json", "-k", "Order or order or random", "--seed", "5", "--examples", "3",
        cwd=tmp_path, PYTEST_ADDOPTS="--no-such-option",
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "MemoryStorage at memory://x" in done.stdout
    assert "warning" not in done.stdout
    told = json.loads((tmp_path / "grade.json").read_text())
    assert told["seed"] == 5
    (target,) = told["targets"]
    assert target["whole"] is False
    assert set(target["declared"]) >= set(ALL_CAPABILITIES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conftest.py", "grade.json", "pytest.ini"]


def test_the_command_is_found_by_oacp_storage(tmp_path):
    pytest.importorskip("oacp_storage.cli", reason="the oacp-storage command is another distribution")
    code = "import sys; from oacp_storage.cli import main; sys.exit(main())"
    done = run(
        "conformance", "memory://x", "-k", "limit_of_zero", cwd=tmp_path, command=[sys.executable, "-c", code]
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "MemoryStorage at memory://x" in done.stdout


def test_a_part_is_no_grade_of_the_whole(tmp_path):
    done = run("memory://x", "-k", "limit_of_zero", "--json", "grade.json", cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "proven: 0 of 15 promised" in done.stdout
    assert "This is no grade of the whole: run all tests for one." in done.stdout
    rows = {line.split()[0]: line.rstrip() for line in done.stdout.splitlines() if line.strip()}
    assert rows["core"].endswith("incomplete")
    assert rows["watch"].endswith("not run")
    (target,) = json.loads((tmp_path / "grade.json").read_text())["targets"]
    left_out = sum(row["not_run"] for row in target["grades"])
    assert f"not run, {left_out}: it was not selected, or the session ended before it" in done.stdout
    assert {row["verdict"] for row in target["grades"]} == {"incomplete", "not run", "not declared"}


def test_a_storage_that_cannot_be_had_is_one_line(tmp_path):
    done = run("nosuch://x", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("conformance: ")
    assert "nosuch" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_failure_is_the_exit_status(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "from oacp_storage_core import MemoryStorage\n"
        "class Wrong(MemoryStorage):\n"
        "    async def get_interactions(self, agent_id, limit=100):\n"
        "        return await super().get_interactions(agent_id, limit or 100)\n"
    )
    info = tmp_path / "wrong-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[oacp_storage.backends]\nwrong = wrong:Wrong\n")
    done = run("wrong://x", "-k", "limit_of_zero", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[Order]" in done.stdout


def test_memory_without_a_name_is_refused(tmp_path):
    done = run("memory", cwd=tmp_path)
    assert done.returncode != 0
    assert "memory://conformance" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
