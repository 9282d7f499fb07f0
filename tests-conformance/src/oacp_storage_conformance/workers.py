"""Other processes, as the tests see them: started, listened to, killed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.sources import Source, to_plain

_LINE_LIMIT = 1024 * 1024


class Worker:
    """One process that works on a store (see ``oacp_storage_conformance.worker``)."""

    def __init__(self, process: asyncio.subprocess.Process, task: str) -> None:
        self._process = process
        self._task = task
        self.said: list[Any] = []
        """Every line that was read from it so far, without the first, ``"open"``."""

    async def hear(self, seconds: float | None = None) -> Any:
        """Its next line; an ``AssertionError`` with its errors when it has ended without one."""
        value = await self._line(seconds)
        self.said.append(value)
        return value

    async def _line(self, seconds: float | None = None) -> Any:
        assert self._process.stdout is not None
        line = await soon(self._process.stdout.readline(), f"a line from the process {self._task!r}", seconds)
        if not line.endswith(b"\n"):
            await self._process.wait()
            raise AssertionError(f"the process {self._task!r} failed: {await self.errors()}")
        return json.loads(line)

    async def opened(self) -> None:
        """Wait until it has opened its storage."""
        assert await self._line() == "open"

    async def finish(self, seconds: float | None = None) -> list[Any]:
        """Everything it said, once it has ended; an ``AssertionError`` with its errors when it failed."""
        await self.drain(seconds)
        code = await soon(self._process.wait(), f"the end of the process {self._task!r}", seconds)
        errors = await self.errors()
        assert code == 0, f"the process {self._task!r} ended with {code}: {errors}"
        return self.said

    async def kill(self) -> list[Any]:
        """End it with SIGKILL; everything it said until then."""
        self.signal_kill()
        await self.drain()
        await soon(self._process.wait(), "the end of a killed process")
        return self.said

    def signal_kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()

    async def drain(self, seconds: float | None = None) -> None:
        """Read what it says until it ends."""
        assert self._process.stdout is not None
        while line := await soon(
            self._process.stdout.readline(), f"the end of the process {self._task!r}", seconds
        ):
            if line.endswith(b"\n") and (value := json.loads(line)) != "open":
                self.said.append(value)

    async def errors(self) -> str:
        """What it wrote on stderr."""
        assert self._process.stderr is not None
        text = await soon(self._process.stderr.read(), "the errors of a process that ended")
        return text.decode(errors="replace").strip() or "it wrote no error"

    async def stop(self) -> None:
        """End it, whatever it does."""
        self.signal_kill()
        await self._process.communicate()


@asynccontextmanager
async def worker(
    source: Source, options: Mapping[str, Any], task: str, *, skew_seconds: float = 0, **arguments: Any
) -> AsyncIterator[Worker]:
    """A process doing ``task`` at the source; it is ended at the end of the block."""
    job = {
        "source": to_plain(source),
        "options": dict(options),
        "task": task,
        "arguments": arguments,
        "path": sys.path,
        "skew_seconds": skew_seconds,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "oacp_storage_conformance.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
    )
    started = Worker(process, task)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")  # not as an argument: a URL may hold a password
        await process.stdin.drain()
        process.stdin.close()
        yield started
    finally:
        await started.stop()
