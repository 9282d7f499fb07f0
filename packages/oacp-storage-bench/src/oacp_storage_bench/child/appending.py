"""Appending from several processes at once."""

from __future__ import annotations

from typing import Any

from oacp_storage_bench.child.task import StorageTask
from oacp_storage_bench.measure import callers
from oacp_storage_bench.payloads import message


class Appending(StorageTask):
    """Appends by ``callers`` over ``agents`` for the seconds that it is asked to; answers how many, and the rate."""

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One round."""
        agents: list[str] = self.spec["agents"]

        async def append(who: int, n: int) -> None:
            await self.storage.store_interaction(agents[(who + n) % len(agents)], message(n))

        sample = await callers(self.spec["callers"], request["seconds"], append)
        return {"rate": sample.value, "count": sample.operations}
