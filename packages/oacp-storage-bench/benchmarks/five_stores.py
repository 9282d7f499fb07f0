"""Measure all five stores on real servers, started for it and ended with it: ``nox -s bench``.

    python packages/oacp-storage-bench/benchmarks/five_stores.py [OPTIONS OF oacp-storage bench]

Redis is measured twice, syncing its append-only file at every write and once a second. Servers are programs on the
PATH, else those in the wheels of the dependency group ``servers``. What is not installed is named and left out.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from oacp_storage_conformance.servers import MongoServer, PostgresServer, RedisServer, ServerMissing
from oacp_storage_core import available_backends


def servers() -> dict[str, list[Callable[[], AbstractContextManager[Any]]]]:
    """How to start the servers of each backend that needs some, with syncs at every commit as they are by default."""
    return {
        "postgres": [lambda: PostgresServer(PostgresServer.find()[0])],
        "redis": [RedisServer, lambda: RedisServer(options=("--appendfsync", "everysec"))],
        "mongo": [MongoServer],
    }


def main() -> int:
    """Start what can be started, and hand all URLs to the command."""
    installed = {
        name for backend in available_backends() for name in backend.names if backend.problem is None
    }
    urls, missing = [], []
    with ExitStack() as running:
        for backend in ("file", "sqlite", *servers()):
            if backend not in installed:
                missing.append(
                    f"{backend}: the backend is not installed (pip install oacp-storage-{backend})"
                )
            elif backend not in servers():
                urls.append(backend)
            else:
                try:
                    urls += [running.enter_context(start()).url for start in servers()[backend]]
                except (ServerMissing, ImportError) as exc:
                    missing.append(f"{backend}: {exc}")
        for line in missing:
            print(f"left out: {line}", file=sys.stderr)
        signal.signal(signal.SIGINT, lambda *_: None)  # the command takes Ctrl-C, and still shows what it has
        command = Path(sysconfig.get_path("scripts")) / "oacp-storage"
        return subprocess.run([command, "bench", *urls, *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
