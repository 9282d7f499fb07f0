"""The memory of a process that does one thing: by how much does its peak rise above the start?"""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import Any

from oacp_storage_bench.child.task import StorageTask
from oacp_storage_bench.payloads import message

_STATUS = Path("/proc/self/status")


class Memory(StorageTask):
    """Stores a batch, or streams a log; answers the megabytes of its peak above what it had before."""

    async def open(self) -> dict[str, Any]:
        """Connect, and use everything once, so that what is loaded late does not count."""
        await super().open()
        agent = f"{self.spec['agent']}-warm"
        await self.storage.store_interactions(agent, [message(n) for n in range(10)])
        async for _ in self.storage.iter_interactions(agent):
            pass
        return {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Megabytes above the start, and how many interactions it was about."""
        gc.collect()
        _forget_peak()
        start = _peak()
        if request["what"] == "batch":
            count = request["count"]
            await self.storage.store_interactions(self.spec["agent"], [message(n) for n in range(count)])
        else:
            count = 0
            async for _ in self.storage.iter_interactions(request["agent"]):
                count += 1
        return {"mb": max(_peak() - start, 0.0), "count": count}


def _forget_peak() -> None:
    """Let the peak begin at what is used now; Linux alone can, elsewhere it stays that of the start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Megabytes of the highest resident size. Not ``ru_maxrss``: on Linux it begins with that of the parent."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS, which has no /proc
