"""Background tasks: work that goes on when no caller waits for it, such as a commit whose caller was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


def start_task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """A task of the running loop that may be left unfinished when its loop ends.

    asyncio would then log "Task was destroyed but it is pending!", about something that the user neither
    started nor could await. The mark is the one that ``asyncio`` itself sets on tasks that it gives up.
    """
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    with suppress(AttributeError):  # a loop may make tasks of its own kind
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way
    return task
