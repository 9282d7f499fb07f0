"""``python -m oacp_storage_bench.child``: the first line of stdin names the task, each further one is a request."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import Any

from oacp_storage_bench.child.task import Task
from oacp_storage_bench.child.tasks import TASKS
from oacp_storage_bench.raw.base import Unavailable
from oacp_storage_core import StorageError


async def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not be heard as an answer
    spec = json.loads(sys.stdin.readline())
    task: Task | None = None

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        task = TASKS[spec.pop("task")](spec)
        say(await task.open())
        while line := await asyncio.to_thread(sys.stdin.readline):
            say(await task.answer(json.loads(line)))
    except (Unavailable, StorageError) as exc:
        say({"error": str(exc)})
    except Exception as exc:  # noqa: BLE001 - whatever a library of others raises, the parent tells it
        say({"error": f"{type(exc).__name__}: {exc}"})
    finally:
        if task is not None:
            await task.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who then ends us
    logging.disable()  # warnings of the storage are in the report already
    asyncio.run(main())
