"""Running pytest as a stranger does: in a project of its own, in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any


@dataclass
class Run:
    """What a session printed, its exit status, and the grade of its only target."""

    status: int
    output: str
    graded: dict[str, Any] | None

    @property
    def targets(self) -> list[dict[str, Any]]:
        assert self.graded is not None, self.output
        return list(self.graded["targets"])

    @property
    def target(self) -> dict[str, Any]:
        (target,) = self.targets
        return target

    def row(self, subject: str) -> dict[str, Any]:
        return next(row for row in self.target["grades"] if row["subject"] == subject)

    def outcome(self, test: str) -> str:
        return next(str(one["outcome"]) for one in self.target["tests"] if one["test"] == test)

    def failed_clauses(self) -> set[str]:
        return {one["clause"] for one in self.target["tests"] if one["outcome"] == "failed"}


def run_pytest(
    project: Path, source: str, *arguments: str, ini: str = "[pytest]\n", seconds: float = 120
) -> Run:
    """Write ``source`` to ``test_mine.py`` of the project and run pytest there, for so many seconds at most."""
    project.mkdir(exist_ok=True)
    (project / "pytest.ini").write_text(dedent(ini))
    (project / "test_mine.py").write_text(dedent(source))
    grade = project / "grade.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--tb=short", "--oacp-storage-json", str(grade), *arguments],
        cwd=project,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    graded = json.loads(grade.read_text()) if grade.exists() else None
    return Run(done.returncode, done.stdout + done.stderr, graded)
