"""A pretended server: ``MemoryStorage`` behind connections that can be cut, with and without care for lost replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from oacp_storage_conformance import Tamper
from oacp_storage_core import (
    Health,
    MemoryStorage,
    OutcomeUnknownError,
    StorageConnectionError,
    StorageTimeoutError,
)


class Network:
    """What lies between the storages of one test and their store."""

    def __init__(self) -> None:
        self.cuts = 0
        self.down = False


class NetworkTamper(Tamper):
    network = True

    def __init__(self, network: Network) -> None:
        self._network = network

    def cut_connections(self) -> None:
        self._network.cuts += 1

    def stop_server(self) -> None:
        self._network.down = True

    def start_server(self) -> None:
        self._network.down = False


class Remote(MemoryStorage):
    """Right: a write whose reply is lost keeps its outcome, and one that never arrived is sent again."""

    def __init__(self, network: Network, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._network = network

    async def _travel(self) -> bool:
        """One way over the network; whether it arrived."""
        if self._network.down:
            raise StorageConnectionError(
                "the server is away; start it and try again"
            ) from ConnectionRefusedError()
        before = self._network.cuts
        await asyncio.sleep(0.002)
        return self._network.cuts == before

    async def _write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while not await self._travel():
            pass
        outcome = await call()
        while not await self._travel():
            pass
        return outcome

    async def open(self) -> None:
        await self._travel()
        await super().open()

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        await self._travel()
        return await super().get_interactions(agent_id, limit)

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any], **given: Any) -> Any:
        call = super().store_interaction
        return await self._write(lambda: call(agent_id, interaction, **given))

    async def update_agent_state(self, agent_id: str, change: Any) -> Any:
        call = super().update_agent_state
        return await self._write(lambda: call(agent_id, change))

    async def delete_interactions(self, agent_id: str | None = None, **criteria: Any) -> Any:
        call = super().delete_interactions
        return await self._write(lambda: call(agent_id, **criteria))

    async def delete_agent(self, agent_id: str) -> Any:
        call = super().delete_agent
        return await self._write(lambda: call(agent_id))

    async def health(self) -> Health:
        if self._network.down:
            return Health(ok=False, backend="Remote", error="the server is away")
        return await super().health()


class SendsAgain(Remote):
    """Wrong: what was sent again happens again."""

    async def _write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            while not await self._travel():
                pass
            outcome = await call()
            if await self._travel():
                return outcome


class SaysItFailed(Remote):
    """Wrong: a lost reply is told as a write that surely did not happen."""

    async def _write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while not await self._travel():
            pass
        outcome = await call()
        if not await self._travel():
            raise StorageTimeoutError("nothing was written")
        return outcome


class Believes(Remote):
    """Wrong: what was sent is taken for done."""

    async def _write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if not await self._travel():
            return "lost"
        return await call()


class NeverKnows(Remote):
    """Right, though of little use: it says that it does not know."""

    async def _write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while not await self._travel():
            pass
        outcome = await call()
        if not await self._travel():
            raise OutcomeUnknownError("it may have been written; repeat it with the same id")
        return outcome


class LeaksTheDriver(Remote):
    """Wrong: the driver's own exception comes out, and health() raises it too."""

    async def _travel(self) -> bool:
        if self._network.down:
            raise ConnectionRefusedError("111")
        return await super()._travel()

    async def health(self) -> Health:
        await self._travel()
        return await super().health()
