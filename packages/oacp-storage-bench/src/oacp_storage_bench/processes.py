"""Other processes: some things can only be measured from there. They are asked in lines of JSON, and answer in such.

What they need to know goes through their stdin, not their command line, where a password in a URL could be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

_LIMIT = 64 * 1024 * 1024
_TIDY_SECONDS = 60
_HUNG_SECONDS = 10  # for one that still owes an answer


class ChildFailed(Exception):
    """A child process could not do what it was asked; the message is what it said."""


class Child:
    """A process that runs one task of ``oacp_storage_bench.child``. ``facts`` is what it said when it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, task: str) -> None:
        self._process = process
        self._task = task
        self._asked = False
        self.facts: dict[str, Any] = {}

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        ``ChildFailed`` if it fails, or still owes an earlier answer, whose asker has given up.
        """
        if self._asked:
            raise ChildFailed(f"the process for {self._task} did not answer before")
        self._asked = True
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("a child is started with pipes")
        with contextlib.suppress(ConnectionError):  # then the end of its output says why
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"the process for {self._task} ended with status {await self._process.wait()}")
        self._asked = False
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildFailed(answer["error"])
        return answer

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def end(self) -> None:
        """Let it clean up and end; kill it if it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_HUNG_SECONDS if self._asked else _TIDY_SECONDS):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                self.kill()
                await self._process.wait()


@contextlib.asynccontextmanager
async def child(task: str, **spec: Any) -> AsyncIterator[Child]:
    """A process with that task, ready to be asked; it ends with the block. ``ChildFailed`` if it cannot begin."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "oacp_storage_bench.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LIMIT,
    )
    started = Child(process, task)
    try:
        started.facts = await started.ask({"task": task, **spec})
        yield started
    finally:
        await started.end()
