"""Server processes: found, started under a supervisor, paused, killed and started again by tests."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_LEFTOVERS = Path(__file__).with_name("leftovers.py")
_START_SECONDS = 60.0


class ServerMissing(Exception):
    """No program to start a server from; the message says how to get one."""


def wheel_file(package: str, relative: str) -> Path | None:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location) / relative
        if path.is_file():
            return path
    return None


def find_program(names: list[str], package: str, relative: str, requirement: str) -> Path:
    """The program on the PATH, else in the wheel, else ``ServerMissing``."""
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    if inside := wheel_file(package, relative):
        return inside
    raise ServerMissing(
        f"no {names[0]} on the PATH, and its wheel is not installed: pip install {requirement}"
    )


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def temporary_directory(prefix: str) -> Path:
    """A new directory that does not outlive this process, however that ends."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    pipe = _leftovers(os.getpid()).stdin
    if pipe is not None:
        pipe.write(json.dumps(str(directory)) + "\n")
        pipe.flush()
    return directory


@functools.cache
def _leftovers(_pid: int) -> subprocess.Popen[str]:
    """The process that deletes what this one leaves; in a session of its own, so that no signal for us ends it."""
    return subprocess.Popen(
        [sys.executable, "-I", str(_LEFTOVERS)], stdin=subprocess.PIPE, text=True, start_new_session=True
    )


class ServerProcess:
    """One server process with a directory of its own, which goes away with it.

    ``unprivileged`` runs it as nobody where the session is root, for servers that refuse root.
    """

    def __init__(self, name: str, *, unprivileged: bool = False) -> None:
        self.name = name
        self.directory = temporary_directory(f"oacp-{name}-")
        self.log = self.directory / "server.log"
        self.identity = _nobody() if unprivileged and os.geteuid() == 0 else None
        if self.identity is not None:
            os.chown(self.directory, *self.identity)
        self.pid: int | None = None
        self._supervisor: subprocess.Popen[str] | None = None

    def start(self, argv: list[str], ready: Callable[[], bool]) -> None:
        """Start the program, and wait until ``ready()``; raises ``RuntimeError`` with its log if it ends."""
        user, group = self.identity or (None, None)
        plan = {
            "argv": argv,
            "log": str(self.log),
            "directory": str(self.directory),
            "user": user,
            "group": group,
        }
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", str(_SUPERVISOR), json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        first_line = self._supervisor.stdout.readline() if self._supervisor.stdout else ""
        if not first_line.strip():
            raise RuntimeError(f"{self.name} could not be started: {argv[0]}")
        self.pid = int(first_line)
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if self._supervisor.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self.name} did not become ready; the end of its log:\n{tail}")
            time.sleep(0.01)  # polling another process; bounded by the deadline above

    def send_signal(self, number: int) -> None:
        """Send a signal to the server, for example SIGSTOP to make it half-open."""
        if self.pid is None:
            raise RuntimeError(f"{self.name} is not running")
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it as a crash would; its data stays for the next ``start``."""
        self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it in its own way, or after some seconds by killing; its data stays for the next ``start``."""
        self._end(number)

    def remove(self) -> None:
        """Kill it if it runs, and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def _end(self, number: int) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(20)
        for pipe in (supervisor.stdin, supervisor.stdout):
            if pipe is not None:
                pipe.close()  # the supervisor kills what is left
        supervisor.wait(20)
        self.pid = None


def _nobody() -> tuple[int, int]:
    account = pwd.getpwnam("nobody")
    return account.pw_uid, account.pw_gid
