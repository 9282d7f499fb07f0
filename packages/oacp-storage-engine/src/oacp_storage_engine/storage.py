"""``EngineStorage``: the whole interface over an ``Engine``; a backend derives from it, with its options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import ClassVar

from oacp_storage_core import (
    ALL_CAPABILITIES,
    Capability,
    Damage,
    Health,
    Storage,
    StorageConfigError,
    StorageError,
    StorageUsageError,
)
from oacp_storage_core.names import check_namespace
from oacp_storage_engine.deletions import Deletions
from oacp_storage_engine.interactions import Interactions
from oacp_storage_engine.lifecycle import Lifecycle
from oacp_storage_engine.primitives import Engine
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.turns import Turns
from oacp_storage_engine.verification import Verification

_HEALTH_PATIENCE = 5.0  # seconds: health tells how the store is now, not how it will be after a wait


class EngineStorage(Interactions, Turns, Deletions, Storage):
    """A ``Storage`` over an engine: rules, group commit, loops, forks, closing and watching are done here.

    A subclass implements ``_make_engine`` and passes these options on:

    - ``namespace``: whose data this is (``[a-z0-9_-]{1,64}``); other namespaces are invisible.
    - ``coerce``: turn the usual non-JSON values into JSON instead of refusing them.
    - ``timeout``: seconds that one call may take, opening included. What takes several steps (deletions, updates,
      reading page by page) has them for each step.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    def __init__(self, *, namespace: str = "default", coerce: bool = False, timeout: float = 30.0) -> None:
        if not timeout > 0:
            raise StorageConfigError(f"timeout must be a positive number of seconds, not {timeout!r}")
        self.namespace = check_namespace(namespace)
        self._coerce = coerce
        self._lifecycle = Lifecycle(self._make_engine, timeout)

    @abstractmethod
    def _make_engine(self) -> Engine:
        """A new engine, not yet open; called for every event loop and process that uses the storage."""

    def _call(self) -> Runtime:
        return self._lifecycle.runtime()

    async def open(self) -> None:
        with self._call() as runtime:
            await runtime.opened()

    async def close(self) -> None:
        await self._lifecycle.close()

    async def health(self) -> Health:
        backend = type(self).__name__
        try:
            with self._call() as runtime:
                await runtime.opened(runtime.loop.time() + _HEALTH_PATIENCE)
                begun = runtime.loop.time()
                info = await runtime.read(runtime.engine.inspect, patience=_HEALTH_PATIENCE)
                latency = runtime.loop.time() - begun
        except StorageUsageError:  # closed, or used from two loops: that is not the store's condition
            raise
        except StorageError as exc:
            return Health(ok=False, backend=backend, error=str(exc))
        return Health(
            ok=True,
            backend=backend,
            latency=latency,
            server_version=info.server_version,
            schema_version=info.schema_version,
            durability=info.durability,
            warnings=info.warnings,
        )

    def verify(self) -> AsyncIterator[Damage]:
        return Verification(self._call)
