"""A ``MemoryEngine`` behind a network that can be cut, and a server that can be stopped."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from memory_engine import FakeStorage, MemoryEngine, MemoryStore
from oacp_storage_engine import Engine, NotApplied, Outcome, Rejected, Unit, Unknown

_LATENCY = 0.001  # seconds, once it matters


class NetworkedStore(MemoryStore):
    """``cuts`` counts how often all connections were cut; from the first cut on, requests take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts = 0
        self.stopped = False


class NetworkedEngine(MemoryEngine):
    """Loses requests and replies when connections are cut."""

    def __init__(self, store: NetworkedStore, namespace: str) -> None:
        super().__init__(store, namespace)
        self._network = store

    async def _turn(self, primitive: str, deadline: float | None = None) -> None:
        """The request reaches the server."""
        cuts = self._network.cuts
        await asyncio.sleep(_LATENCY if cuts else 0)
        await super()._turn(primitive, deadline)
        if primitive != "close" and (self._network.stopped or cuts != self._network.cuts):
            raise NotApplied("connection refused by the server")

    async def commit(
        self, attempt: str, units: Sequence[Unit], *, deadline: float
    ) -> Sequence[Outcome | Rejected]:
        outcomes = await super().commit(attempt, units, deadline=deadline)
        cuts = self._network.cuts
        await asyncio.sleep(_LATENCY if cuts else 0)
        if cuts != self._network.cuts:
            raise Unknown("connection reset by the server")
        return outcomes

    async def signals(self) -> AsyncGenerator[str | None, None]:
        cuts = self._network.cuts
        async for agent in super().signals():
            if cuts != self._network.cuts:
                raise NotApplied("connection reset by the server")
            yield agent


class NetworkedStorage(FakeStorage):
    """A storage of which the tests can cut the connections."""

    def __init__(self, store: NetworkedStore, *, namespace: str = "default", coerce: bool = False) -> None:
        self._network = store
        super().__init__(store, namespace=namespace, coerce=coerce, timeout=3.0)

    def _make_engine(self) -> Engine:
        return NetworkedEngine(self._network, self.namespace)
