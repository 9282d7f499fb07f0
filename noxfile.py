"""What can be run here: ``nox -s NAME``; ``nox -l`` lists the names. A laptop and CI run the same commands.

Sessions use uv where it is installed (``pip install "nox[uv]"``) and plain pip where it is not. Packages are
found by their folders, so a new one needs no change here.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import nox
from python_discovery import get_interpreter

nox.needs_version = ">=2026.8.17"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_external_run = True
nox.options.sessions = ["tests"]

# A shell that starts us in the background has us ignore Ctrl-C, and all that we start; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent
WORKSPACE = nox.project.load_toml(ROOT / "pyproject.toml")
MEMBERS = [
    folder
    for pattern in WORKSPACE["tool"]["uv"]["workspace"]["members"]
    for folder in sorted(ROOT.glob(pattern))
]
SUPPORTED = nox.project.python_versions(nox.project.load_toml(MEMBERS[0] / "pyproject.toml"))

PYTHONS = "OACP_STORAGE_PYTHONS"
"""Environment variable: the interpreters that must be there beside the current one, as in ``3.12 3.13``.

A missing one fails ``tests``. Unset, ``tests`` takes the supported ones that it finds; empty, the current one
alone. CI sets it to what its machines promise to have.
"""


ALL_TESTS = ("pytest", "-n", "4", "--dist", "loadscope")
"""Everything, by four workers on any machine: tests wait for disks, servers and processes more than they compute.

A class or a module of tests stays with one worker, which starts the servers that it needs."""

SHARED = {"OACP_STORAGE_PATIENCE": "120"}
"""Workers share the machine, so a call counts as hanging only after more seconds than alone."""


def install(session: nox.Session, *groups: str, options: tuple[str, ...] = ()) -> None:
    """Install every package of the workspace, editable, and the tools of the named dependency groups.

    One command lists every path: an installer that sees them all at once never asks an index for our own
    names, which it would find missing there, or published by somebody else.
    """
    paths = [argument for member in MEMBERS for argument in ("-e", str(member))]
    session.install(*options, *paths, *nox.project.dependency_groups(WORKSPACE, *groups))


def run_lint(session: nox.Session) -> None:
    """Rules and formatting of everything, by ruff."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


def run_typecheck(session: nox.Session) -> None:
    """Types of the sources in one run, then of each folder of tests.

    The folders of tests are checked one by one because each has modules of the same names (``conftest``). A test
    function need not be annotated, for its name is its whole interface; what it does is checked all the same.
    """
    session.run("mypy")
    relaxed = ["--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls"]
    folders = [member / "tests" for member in (*MEMBERS, ROOT / "plugin-template")]
    for folder in folders:
        if any(folder.rglob("*.py")):
            session.run("mypy", *relaxed, str(folder.relative_to(ROOT)))


def other_interpreters(session: nox.Session) -> list[str]:
    """The supported versions of Python, the current one aside, that ``tests`` runs on; see ``PYTHONS``."""
    current = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = os.environ.get(PYTHONS)
    names = SUPPORTED if wanted is None else wanted.replace(",", " ").split()
    if unknown := sorted(set(names) - set(SUPPORTED)):
        session.error(f"{PYTHONS} names {', '.join(unknown)}; supported are {', '.join(SUPPORTED)}")
    others = [name for name in names if name != current]
    missing = [name for name in others if get_interpreter(name) is None]
    if missing and wanted is not None:
        session.error(f"{PYTHONS} asks for Python {', '.join(missing)}, which is not here")
    if missing:
        session.warn(f"Python {', '.join(missing)}: not here, so not tested")
    return [name for name in others if name not in missing]


@nox.session
def demo(session: nox.Session) -> None:
    """Show oacp-storage at work: a team of agents is killed and goes on where it was."""
    install(session)
    session.run("oacp-storage", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run everything a change must pass; with arguments after ``--``, only pytest with them."""
    others = [] if session.posargs else other_interpreters(session)
    install(session, "dev")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    run_lint(session)
    run_typecheck(session)
    run_build(session)
    session.run(*ALL_TESTS, env=SHARED)
    for name in others:
        session.notify(f"tests_on-{name}")


@nox.session(python=SUPPORTED, default=False)
def tests_on(session: nox.Session) -> None:
    """Run the tests alone on one of the supported interpreters; ``tests`` calls it for those it finds."""
    install(session, "test")
    session.run(*ALL_TESTS, *session.posargs, env=SHARED)


@nox.session
def conformance(session: nox.Session) -> None:
    """Grade storages with the published suite: the URLs after ``--``, else the embedded three."""
    install(session)
    data = Path(session.create_tmp()).resolve()
    sources = session.posargs or [
        "memory://conformance",
        f"file://{data}/file",
        f"sqlite:///{data}/agents.db",
    ]
    for source in sources:
        session.run("oacp-storage", "conformance", source)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure all five stores from their wheels beside bare drivers and peers; arguments are those of the command."""
    session.install(*nox.project.dependency_groups(WORKSPACE, "build", "servers"))
    dist = Path(session.create_tmp()) / "dist"
    make_distributions(session, dist)
    extras = {"oacp_storage_bench": "[peers,plot]"}
    wheels = [(path.name.split("-")[0], path.resolve().as_uri()) for path in sorted(dist.glob("*.whl"))]
    # In one command, so that no index is asked for our own names; beside the peers, which bind some drivers.
    session.install(*(f"{name}{extras.get(name, '')} @ {uri}" for name, uri in wheels))
    options = [] if "--against" in session.posargs else ["--against", "raw,peers"]
    script = "packages/oacp-storage-bench/benchmarks/five_stores.py"
    # After Ctrl-C it finishes what it measures, and shows what it has.
    session.run("python", script, *options, *session.posargs, interrupt_timeout=120)


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules and formatting; ``nox -s lint -- fix`` corrects what can be corrected."""
    session.install(*nox.project.dependency_groups(WORKSPACE, "lint"))
    if session.posargs == ["fix"]:
        session.run("ruff", "check", "--fix")
        session.run("ruff", "format")
    run_lint(session)


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check all types, strictly."""
    install(session, "typecheck")
    run_typecheck(session)


@nox.session
def build(session: nox.Session) -> None:
    """Build all wheels and sdists into dist/, check them, and try each wheel alone in a clean environment."""
    session.install(*nox.project.dependency_groups(WORKSPACE, "build"))
    run_build(session)


def run_build(session: nox.Session) -> None:
    """Build each wheel from its own sdist, so that both are proven, and check what came out."""
    dist = ROOT / "dist"
    make_distributions(session, dist)
    made = [str(path) for pattern in ("*.tar.gz", "*.whl") for path in sorted(dist.glob(pattern))]
    session.run("twine", "check", "--strict", *made)
    session.run("python", ".ci/check_distributions.py", str(dist), *map(str, MEMBERS))
    try_wheels(session, dist)


def make_distributions(session: nox.Session, dist: Path) -> None:
    """The sdist and the wheel of every member, in ``dist`` and alone there."""
    shutil.rmtree(dist, ignore_errors=True)
    builder = ["uv", "build", "-q"] if session.venv_backend == "uv" else ["pyproject-build"]
    for member in MEMBERS:
        session.run(*builder, "-o", str(dist), str(member), silent=True)


def try_wheels(session: nox.Session, dist: Path) -> None:
    """Install each wheel alone in an environment of its own and import what it holds.

    A file of ``name @ file://`` constraints takes our own names from ``dist``; the rest comes from the index.
    """
    wheels = {path.name.split("-")[0].replace("_", "-"): path for path in sorted(dist.glob("*.whl"))}
    folder = Path(session.create_tmp())
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name} @ {path.as_uri()}\n" for name, path in wheels.items()))
    for name, path in wheels.items():
        python = make_environment(session, folder / name)
        pip(session, python, "install", "-q", "-c", str(constraints), str(path))
        session.run(str(python), "-I", ".ci/check_installed.py", name, external=True)
    try_beside_oacp(session, folder / "beside-oacp", wheels)


def try_beside_oacp(session: nox.Session, environment: Path, wheels: dict[str, Path]) -> None:
    """Install and remove wheels of ours and PyPI's ``oacp``, which has an ``oacp.storage`` too, in either order."""
    theirs = "oacp==0.1.8"
    ours = [f"oacp-storage-{name}" for name in ("core", "engine", "file")]
    python = make_environment(session, environment)

    def change(state: str, *arguments: str) -> None:
        pip(session, python, *arguments)
        session.run(str(python), "-I", ".ci/check_beside_oacp.py", state, external=True)

    change("theirs", "install", "-q", theirs)
    change("both", "install", "-q", *(str(wheels[name]) for name in ours))
    change("ours", "uninstall", "-q", "oacp")
    change("both", "install", "-q", theirs)
    change("theirs", "uninstall", "-q", *ours)


def make_environment(session: nox.Session, environment: Path) -> Path:
    """Make an empty environment, and return its interpreter."""
    if session.venv_backend == "uv":
        session.run("uv", "venv", "-q", "--clear", "-p", sys.executable, str(environment))
    else:
        session.run(sys.executable, "-m", "virtualenv", "-q", "--clear", str(environment), external=True)
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def pip(session: nox.Session, python: Path, command: str, *arguments: str) -> None:
    """Run a command of pip, or of uv where that is used, on the environment of this interpreter."""
    if session.venv_backend == "uv":
        session.run("uv", "pip", command, "-p", str(python), *arguments)
        return
    sure = ["-y"] if command == "uninstall" else []
    session.run(str(python), "-m", "pip", command, *sure, *arguments, external=True)


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest versions of our dependencies that we declare (needs uv)."""
    if session.venv_backend != "uv":
        session.error('minimums needs uv, which can resolve to lowest versions: pip install "nox[uv]"')
    install(session, "test", options=("--resolution", "lowest-direct"))
    session.run(*ALL_TESTS, *session.posargs, env=SHARED)
