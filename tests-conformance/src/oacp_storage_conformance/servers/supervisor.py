"""Runs one server, and kills it when the test session ends: ``python -I supervisor.py PLAN`` (a JSON object).

Standard input is a pipe that the session holds open. When the session ends, however it ends, the pipe closes,
and the server is killed. The server's process id is printed as the first line. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Start the server described by the JSON argument, and outlive neither it nor the session."""
    plan = json.loads(sys.argv[1])
    identity = {"user": plan["user"], "group": plan["group"], "extra_groups": []} if plan["user"] else {}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session, which then closes the pipe
    with open(plan["log"], "ab") as log:  # noqa: PTH123 - this script stays free of imports
        server = subprocess.Popen(
            plan["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=plan["directory"],
            start_new_session=True,
            **identity,
        )
    print(server.pid, flush=True)  # noqa: T201 - the answer to the session
    threading.Thread(target=_kill_at_end_of_input, args=(server,), daemon=True).start()
    return server.wait()


def _kill_at_end_of_input(server: subprocess.Popen[bytes]) -> None:
    """The session has ended without ending its server: kill it, which ends this process too."""
    while os.read(0, 1024):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGCONT)
        os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
