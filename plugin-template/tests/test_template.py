"""The template, rendered as a stranger would: its result installs, is found, graded, linted and typed as it stands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "plugin-template"
OURS = {
    "oacp-storage-core": ROOT / "packages" / "oacp-storage-core",
    "oacp-storage-engine": ROOT / "packages" / "oacp-storage-engine",
    "oacp-storage-conformance": ROOT / "tests-conformance",
}
LIST_BACKENDS = """
from oacp_storage_core import available_backends
for backend in available_backends():
    print(*backend.names, "of", backend.distribution)
"""


def cookiecutter(directory: Path, **answers: str) -> subprocess.CompletedProcess[str]:
    """Render the template into the directory, as its user would."""
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "-o", str(directory), str(TEMPLATE)]
    command += [f"{name}={value}" for name, value in answers.items()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(directory: Path, **answers: str) -> Path:
    """The folder that the template makes of these answers."""
    done = cookiecutter(directory, **answers)
    assert done.returncode == 0, done.stderr
    (project,) = (path for path in directory.iterdir() if (path / "pyproject.toml").exists())
    return project


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program and return what it printed; its whole output is the message when it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Installer:
    """Wheels and environments, made by uv where it is installed and by build and pip where it is not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.uv = shutil.which("uv")
        self.python = directory / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if self.uv:
            run(self.uv, "venv", "-q", "-p", sys.executable, directory / "environment", cwd=directory)
        else:
            venv.create(directory / "environment", with_pip=True)

    def build(self, source: Path) -> Path:
        """The wheel of a source folder, built outside of it."""
        into = self.directory / "wheels" / source.name
        if self.uv:
            run(self.uv, "build", "-q", "--wheel", "-o", into, source, cwd=self.directory)
        else:
            run(sys.executable, "-m", "build", "--wheel", "-o", into, source, cwd=self.directory)
        (wheel,) = into.glob("*.whl")
        return wheel

    def install(self, *arguments: str | Path) -> None:
        """Install into the environment."""
        if self.uv:
            run(self.uv, "pip", "install", "-q", "-p", self.python, *arguments, cwd=self.directory)
        else:
            run(self.python, "-m", "pip", "install", "-q", *arguments, cwd=self.directory)


@pytest.mark.timeout(600)
def test_what_it_renders_works_as_it_stands(tmp_path: Path) -> None:
    project = render(tmp_path, backend="acme")
    installer = Installer(tmp_path)
    wheels = {name: installer.build(source) for name, source in OURS.items()}
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()))
    wheel = installer.build(project)
    tools = ["mypy", "pytest", "pytest-asyncio", "ruff", "oacp-storage-conformance"]
    installer.install("-c", constraints, wheel, *tools)

    listed = run(installer.python, "-c", LIST_BACKENDS, cwd=tmp_path)
    assert "acme of oacp-storage-acme" in listed
    tested = run(installer.python, "-m", "pytest", "-q", cwd=project)
    assert " passed" in tested
    assert "AcmeStorage at" in tested, "the conformance suite must print a grade"
    run(installer.python, "-m", "ruff", "check", cwd=project)
    run(installer.python, "-m", "ruff", "format", "--check", cwd=project)
    run(installer.python, "-m", "mypy", cwd=project)


def test_other_answers_render_consistently(tmp_path: Path) -> None:
    project = render(
        tmp_path, backend="big-table", distribution="my-storage", class_name="Big", author="An Author"
    )
    texts = {path: path.read_text(encoding="utf-8") for path in project.rglob("*") if path.is_file()}
    assert project.name == "my-storage"
    assert (project / "src" / "my_storage" / "py.typed").exists()
    assert not [path for path, text in texts.items() if "cookiecutter" in text or "acme" in text.lower()]
    assert 'big-table = "my_storage:Big"' in texts[project / "pyproject.toml"]
    assert "An Author" in texts[project / "LICENSE"]


@pytest.mark.parametrize(
    "answers",
    [{"backend": "Acme"}, {"backend": "sqlite"}, {"distribution": "no name"}, {"package": "not-importable"}],
)
def test_names_that_cannot_work_are_refused(tmp_path: Path, answers: dict[str, str]) -> None:
    done = cookiecutter(tmp_path, **answers)
    assert done.returncode != 0
    assert next(iter(answers.values())) in done.stdout + done.stderr, "the message must name what was refused"
    assert not list(tmp_path.iterdir()), "a refused template leaves nothing behind"
