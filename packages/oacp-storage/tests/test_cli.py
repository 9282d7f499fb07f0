"""The command as a whole: its list of commands, the commands of other packages, failures and statuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from oacp_command import PROGRAM, Ran, call, environment, run
from oacp_storage.cli import COMMANDS


def one_line(ran: Ran) -> str:
    """The one line on stderr that a failure is."""
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("oacp-storage: ")
    return lines[0].removeprefix("oacp-storage: ")


def install(folder: Path, name: str, commands: dict[str, str], **modules: str) -> dict[str, str]:
    """A distribution with these commands in ``folder``; returns the environment that has it."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "\n".join(f"{command} = {target}" for command, target in commands.items())
    info.joinpath("entry_points.txt").write_text(f"[oacp_storage.commands]\n{points}\n")
    for module, source in modules.items():
        folder.joinpath(f"{module}.py").write_text(source)
    return {"PYTHONPATH": str(folder)}


GREETING = """
import sys
from cyclopts import App
app = App(name="whatever", help="Says hello.")
@app.default
def hello(name: str, *, status: int = 0) -> int:
    print(f"hello {name}")
    return status
@app.command
def fail() -> None:
    from oacp_storage_core import StorageConnectionError
    raise StorageConnectionError("the server is\\n  away")
"""


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        ran = call(capsys, *arguments)
        assert ran.status == 0
        for name, summary in COMMANDS.items():
            assert name in ran.out
            assert summary.split()[0] in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = call(capsys, name, "--help")
    assert ran.status == 0
    assert ran.err == ""
    assert f"oacp-storage {name}" in ran.out
    assert COMMANDS[name].rstrip(".") in " ".join(ran.out.split())


def test_help_loads_no_command(tmp_path: Path) -> None:
    commands = install(tmp_path, "dist-broken", {"broken": "broken_command:app"}, broken_command="1 / 0")
    program = (
        "import sys; from oacp_storage.cli import main; main(['--help']); "
        "print([name for name in sys.modules if name.startswith('oacp_storage.commands') or name == 'broken_command'"
        " or name.startswith(('oacp_storage_conformance', 'asyncio', 'zstandard', 'rich.progress'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env=environment(commands),
        timeout=60,
        check=True,
    )
    assert done.stdout.decode().splitlines()[-1] == "[]"
    assert "broken" in done.stdout.decode()


def test_help_is_fast(tmp_path: Path) -> None:
    """300 ms on the machine where ``import asyncio`` takes 50: a ratio, because others use the machine too."""

    # As installed programs run: compiled once. An installer or a setting may have left that undone.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def cost(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, timeout=60, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    asyncio_alone = min(cost(sys.executable, "-c", "import asyncio") for _ in range(5))
    assert min(cost(sys.executable, "-m", "oacp_storage", "--help") for _ in range(5)) < 6 * asyncio_alone


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == (0, f"{version('oacp-storage')}\n", "")


def test_the_console_script_is_the_same() -> None:
    script = Path(sys.executable).with_name("oacp-storage")
    done = subprocess.run([script, "--version"], capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == f"{version('oacp-storage')}\n"


def test_an_unknown_command_and_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    ran = call(capsys, "exprot")
    assert ran.status == 2
    assert "no command 'exprot'" in one_line(ran)
    assert "did you mean 'export'?" in one_line(ran)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["agents", "--prefx", "x"],
            "Unknown option: --prefx. Did you mean --prefix?; see oacp-storage agents --help",
        ),
        (["import"], "FILE requires an argument; see oacp-storage import --help"),
        (["show", "a", "memory://", "--last", "-1"], "Must be >= 0"),
        (["show", "a", "memory://", "--last", "ten"], "unable to convert ten into int"),
        (["copy", "memory://"], "requires an argument"),
        (["copy", "memory://", "memory://"], "the source and the target are the same storage"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = call(capsys, *arguments)
    assert ran.status == 2
    assert message in one_line(ran).replace('"', "")  # releases of Cyclopts quote more or less


def test_an_unknown_backend_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    ran = call(capsys, "agents", "memry://")
    assert ran.status == 2
    assert "no installed backend is called 'memry'" in one_line(ran)
    assert "did you mean 'memory'?" in one_line(ran)


def test_nothing_configured_says_what_could_be(tmp_path: Path) -> None:
    for command in ("agents", "health", "verify", "export"):
        ran = run(command, cwd=tmp_path)
        assert ran.status == 2
        assert "OACP_STORAGE_URI" in one_line(ran)
        assert "oacp.toml" in one_line(ran)


def test_the_configured_default_and_names(tmp_path: Path) -> None:
    tmp_path.joinpath("oacp.toml").write_text(
        'default = "main"\n[storage.main]\nbackend = "memory"\n[storage.other]\nurl = "memory://other"\n'
    )
    for arguments, env in ([], {}), (["other"], {}), ([], {"OACP_STORAGE_URI": "memory://"}):
        ran = run("health", *arguments, "--json", cwd=tmp_path, env=env)
        assert ran.status == 0, ran.err
        assert json.loads(ran.out)["backend"] == "MemoryStorage"
    assert "othr" in one_line(run("health", "othr", cwd=tmp_path))


@pytest.mark.parametrize(
    "url", ["nowhere://me:sesame@host/db", "nowhere://sesame@host/db", "nowhere://host/db?password=sesame"]
)
def test_no_password_is_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["agents", url], ["agents", "memory://", url], [url], ["agents", f"--storage={url}"]):
        ran = call(capsys, *arguments)
        assert ran.status == 2
        assert "sesame" not in ran.err + ran.out


def test_a_traceback_is_shown_only_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "nowhere://me:sesame@host/db"
    assert "Traceback" not in call(capsys, "agents", url).err
    monkeypatch.setenv("OACP_STORAGE_TRACEBACK", "1")
    ran = call(capsys, "agents", url)
    assert "Traceback" in ran.err
    assert "sesame" not in ran.err
    assert ran.err.splitlines()[-1].startswith("oacp-storage: no installed backend")


def test_an_unexpected_failure_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oacp_storage.cli._run", lambda tokens: 1 // 0)
    ran = call(capsys, "agents")
    assert ran.status == 3
    assert "unexpected ZeroDivisionError" in one_line(ran)
    assert "OACP_STORAGE_TRACEBACK" in one_line(ran)


def test_a_command_of_another_package(tmp_path: Path) -> None:
    env = install(tmp_path, "dist-greeting", {"greet": "greeting:app"}, greeting=GREETING)
    shown = run("--help", env=env)
    assert "From dist-greeting 1.0." in shown.out
    assert run("greet", "you", env=env) == (0, "hello you\n", "")
    assert run("greet", "you", "--status", "7", env=env) == (7, "hello you\n", "")
    assert "Says hello." in run("greet", "--help", env=env).out
    failed = run("greet", "fail", env=env)
    assert (failed.status, one_line(failed)) == (3, "the server is away")
    wrong = run("greet", "--nme", "x", env=env)
    assert wrong.status == 2
    assert "Unknown option" in one_line(wrong)
    assert "did you mean 'greet'?" in one_line(run("gret", env=env))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'; reinstall it"),
        ("raise SystemExit(5)", "SystemExit: 5"),
        ("app = 5", "is not a Cyclopts App but a int"),
        ("", "has no attribute 'app'"),
    ],
)
def test_a_broken_command_is_one_line(source: str, message: str, tmp_path: Path) -> None:
    env = install(tmp_path, "dist-broken", {"broken": "broken_command:app"}, broken_command=source)
    ran = run("broken", env=env)
    assert ran.status == 2
    assert message in one_line(ran)
    assert "dist-broken 1.0" in one_line(ran)
    assert run("--help", env=env).status == 0
    assert run("agents", "memory://", env=env).status == 0


def test_a_command_that_two_packages_claim(tmp_path: Path) -> None:
    install(tmp_path, "dist-one", {"greet": "greeting:app"}, greeting=GREETING)
    env = install(tmp_path, "dist-two", {"greet": "greeting:app"})
    line = one_line(run("greet", "you", env=env))
    assert "the command 'greet' is claimed twice" in line
    assert "dist-one 1.0" in line
    assert "dist-two 1.0" in line
    assert line.endswith("uninstall one of them")
    shown = run("--help", env=env).out
    assert "dist-one 1.0" in shown
    assert "dist-two 1.0" in shown


def test_our_own_commands_cannot_be_taken(tmp_path: Path) -> None:
    env = install(tmp_path, "dist-thief", {"agents": "greeting:app"}, greeting=GREETING)
    assert run("agents", "memory://", env=env) == (0, "", "the storage has no agents\n")


def test_an_unreadable_entry_point_file_stops_nothing(tmp_path: Path) -> None:
    env = install(tmp_path, "dist-garbled", {"x": "y:z"})
    next(tmp_path.glob("*.dist-info")).joinpath("entry_points.txt").write_bytes(
        b"[oacp_storage.commands\n\xff = ="
    )
    assert run("--help", env=env).status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_is_one_line() -> None:
    with subprocess.Popen(
        [*PROGRAM, "import", "-", "--to", "memory://"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # More than a pipe holds: once all is written, the process is reading, and then waits for more.
        process.stdin.write(b'{"agent_id": "a", "interaction": {}}\n' + b"\n" * 1_000_000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b"oacp-storage: interrupted\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, durable: str) -> None:
    lines = b"".join(
        b'{"agent_id": "a", "interaction": {"text": "%s"}}\n' % (b"x" * 1000) for _ in range(500)
    )
    assert run("import", "-", "--to", durable, stdin=lines).status == 0
    with subprocess.Popen(
        [*PROGRAM, "export", durable], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed: str, tmp_path: Path) -> None:
    tmp_path.joinpath("lines").write_text('{"agent_id": "alice", "interaction": {"n": 1}}\n')
    arguments = (
        "import lines sqlite:///a.db",
        "import - sqlite:///a.db",
        "export sqlite:///a.db",
        "agents nope",
    )
    for one, status in zip(arguments, (0, 0, 0, 2), strict=True):
        done = subprocess.run(
            ["sh", "-c", f"{' '.join(PROGRAM)} {one} {closed}"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env=environment(),
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, (one, done.stderr)
        assert "defect" not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_progress_bar_on_a_terminal_only(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"agent_id": "a", "interaction": {"n": 1}}\n' * 5000)
    assert run("import", path, "--to", "memory://").err == ""
    mine, theirs = os.openpty()
    done = subprocess.run(
        [*PROGRAM, "import", path, "--to", "memory://"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment({"TERM": "xterm"}),
        timeout=60,
        check=True,
    )
    os.close(theirs)
    shown = os.read(mine, 1 << 16).decode()
    os.close(mine)
    assert "lines" in shown
    assert "5,000 lines" in done.stdout.decode()
