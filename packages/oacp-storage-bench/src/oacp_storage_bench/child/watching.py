"""Watching from another process: when is what was acknowledged delivered?"""

from __future__ import annotations

import time
from typing import Any

from oacp_storage_bench.child.task import StorageTask


class Watching(StorageTask):
    """Notes when the interactions of an agent are delivered. It is ready when the first one was."""

    async def open(self) -> dict[str, Any]:
        """Wait for the first delivery: from then on the watch is live."""
        await super().open()
        self._watch = self.storage.watch_interactions(self.spec["agent"], after=0)
        await anext(self._watch)
        return {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The monotonic nanoseconds of the next ``count`` deliveries, by sequence; the parent's clock is the same."""
        found = []
        for _ in range(request["count"]):
            interaction = await anext(self._watch)
            found.append((interaction.sequence, time.monotonic_ns()))
        return {"delivered": found}
