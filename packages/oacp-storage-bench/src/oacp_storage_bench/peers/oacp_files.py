"""The PyPI package oacp, 0.1.x: its FileStorage, one run an agent, one event a message."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from oacp_storage_bench.peers.base import Peer
from oacp_storage_bench.raw.base import Unavailable, driver

_INSTALL = "oacp==0.1.8"


class OacpFiles(Peer):
    """``FileStorage``. It is synchronous, so an asynchronous program calls it in threads."""

    title = "oacp FileStorage"
    family = "file"
    distributions: ClassVar[tuple[str, ...]] = ("oacp",)

    async def open(self) -> None:
        """Make the directory. Where that package is not installed, ``oacp.storage`` is a module of ours."""
        try:
            self._event = driver("oacp.events", _INSTALL).NodeResult
            module = driver("oacp.storage.file", _INSTALL)
        except Unavailable as exc:
            raise Unavailable(f"the package oacp 0.1 is not installed: pip install {_INSTALL}") from exc
        self._storage = module.FileStorage(str(self.place.directory / "peer-oacp"))
        self.durability, self.settings = "power-cut", "a file an agent, fsync"

    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """An event with the message as its output."""
        event = self._event(run_id=agent, node_id=payload["type"], output=payload)
        await asyncio.to_thread(self._storage.append, event)

    async def newest(self, agent: str) -> str:
        """The last of all events."""
        *_, newest = await asyncio.to_thread(lambda: list(self._storage.iterate(agent)))
        return str(newest.output["content"])

    async def close(self) -> None:
        """Nothing is open between calls."""
        self._storage.close()
