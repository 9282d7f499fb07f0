"""A peer in a process of its own: what it imports and starts does not disturb what else is measured."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oacp_storage_bench.child.task import Task
from oacp_storage_bench.measure import callers
from oacp_storage_bench.payloads import message
from oacp_storage_bench.peers import PEERS
from oacp_storage_bench.place import Place


class Peering(Task):
    """Appends through a peer, as ``callers`` over ``agents``, for some seconds."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        family, url, directory, token = spec["place"]
        self._peer = PEERS[spec["peer"]](Place(family, url, Path(directory), token))
        self._opened = False

    async def open(self) -> dict[str, Any]:
        """Open it, and see that it gives back what it is given."""
        peer = self._peer
        await peer.open()
        self._opened = True
        await peer.append("check", message(3))
        if (newest := await peer.newest("check")) != message(3)["content"]:
            raise RuntimeError(f"what was stored did not come back, but {newest!r:.80}")
        return {
            "durability": peer.durability,
            "settings": peer.settings,
            "versions": {name: version(name) for name in peer.distributions},
        }

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One round: a ``Sample`` as a list."""
        agents: list[str] = self.spec["agents"]

        async def append(who: int, n: int) -> None:
            await self._peer.append(agents[(who + n) % len(agents)], message(n))

        return {"sample": await callers(request["callers"], request["seconds"], append)}

    async def close(self) -> None:
        """Let it remove what it made; one that could not be opened has perhaps made a part."""
        with contextlib.nullcontext() if self._opened else contextlib.suppress(Exception):
            await self._peer.close()
