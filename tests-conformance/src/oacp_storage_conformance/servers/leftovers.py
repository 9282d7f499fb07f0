"""Deletes what a test session leaves behind, however it ends: ``python -I leftovers.py``.

Standard input is a pipe that the session holds open; each line of it is a directory, as JSON. When the session ends,
however it ends, the pipe closes, and the directories that are still there are deleted. Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time

_SECONDS = 30.0


def main() -> int:
    """Wait for the end of the session, and delete; servers that are being killed may write for a moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session, which then closes the pipe
    directories: list[str] = [json.loads(line) for line in sys.stdin]
    deadline = time.monotonic() + _SECONDS
    while left := [directory for directory in directories if os.path.exists(directory)]:  # noqa: PTH110 - few imports
        for directory in left:
            shutil.rmtree(directory, ignore_errors=True)
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.05)  # polling what other processes do; bounded by the deadline above
    return 0


if __name__ == "__main__":
    sys.exit(main())
