"""The adapter: makes a ``Storage`` of a backend that has only the four methods, without adding anything to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import perf_counter
from typing import Any, TypeVar

from oacp_storage_core.arguments import check_limit, check_payload
from oacp_storage_core.backend import StorageBackend
from oacp_storage_core.capability import Capability
from oacp_storage_core.errors import StorageClosedError, StorageError, UnsupportedOperationError
from oacp_storage_core.names import check_name
from oacp_storage_core.records import Durability, Health
from oacp_storage_core.storage import Storage

_Result = TypeVar("_Result")

_PROBED = "health"
"""The agent that ``health`` reads: many backends connect at their first use, so opening shows nothing."""


def adapt(backend: StorageBackend, *, coerce: bool = False) -> Storage:
    """The backend as a ``Storage``; one that is a ``Storage`` already comes back unchanged.

    Names and payloads are checked by the rules of the contract before the backend sees them (it is given a
    copy, of plain JSON), and every operation beyond the four raises ``UnsupportedOperationError``. ``coerce``
    turns the usual non-JSON values into JSON instead of refusing them; a ``Storage`` has that as an option of
    its own, so it is a ``ValueError`` here.
    """
    if not isinstance(backend, StorageBackend):
        raise TypeError(f"adapt takes an instance of a StorageBackend, not {type(backend).__name__}")
    if not isinstance(backend, Storage):
        return AdaptedStorage(backend, coerce=coerce)
    if coerce:
        raise ValueError(
            f"coerce is an option of {type(backend).__name__} itself; give it to its constructor"
        )
    return backend


class AdaptedStorage(Storage):
    """A four-method backend behind the whole interface. It declares no capability.

    What the backend returns is passed on; what it raises, too. It is opened at the first use, and closed once,
    when the calls under way have ended.
    """

    def __init__(self, backend: StorageBackend, *, coerce: bool = False) -> None:
        self.backend = backend
        self._coerce = coerce
        self._opening = asyncio.Lock()
        self._opened = False
        self._closed = False
        self._released = False
        self._under_way = 0
        self._idle: asyncio.Future[None] | None = None
        # Attributes of the class elsewhere; here the backend's count.
        vars(self).update(durable=backend.durable, multiprocess=backend.multiprocess)

    async def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        agent = check_name(agent_id)
        if interaction_id is not None or timestamp is not None:
            raise self._unsupported(Capability.IDEMPOTENT_APPEND)
        data = check_payload(interaction, self._coerce)[1]
        return await self._call(lambda: self.backend.store_interaction(agent, data))

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        agent = check_name(agent_id)
        wanted = check_limit(limit)
        if wanted == 0:  # backends that take the last ones by a slice [-0:] would return all
            return []
        return await self._call(lambda: self.backend.get_interactions(agent, wanted))

    async def store_agent_state(
        self, agent_id: str, state: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        agent = check_name(agent_id)
        if expected_version is not None:
            raise self._unsupported(Capability.VERSIONED_STATE)
        data = check_payload(state, self._coerce)[1]
        return await self._call(lambda: self.backend.store_agent_state(agent, data)) or 0

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        agent = check_name(agent_id)
        return await self._call(lambda: self.backend.get_agent_state(agent))

    async def health(self) -> Health:
        """Whether the backend can be opened and read: a read of an agent that need not be there is made."""
        name = type(self.backend).__name__
        try:
            await self.open()
            begun = perf_counter()
            await self._call(lambda: self.backend.get_agent_state(_PROBED))
            latency = perf_counter() - begun
        except StorageClosedError:
            raise
        except StorageError as exc:
            return Health(ok=False, backend=name, error=str(exc))
        except Exception as exc:  # noqa: BLE001 - a driver's message could hold a password
            return Health(ok=False, backend=name, error=type(exc).__name__)
        durability: Durability = "unknown" if self.durable else "none"
        return Health(ok=True, backend=name, latency=latency, durability=durability)

    async def open(self) -> None:
        if self._opened and not self._closed:
            return
        async with self._opening:
            if self._closed:
                raise StorageClosedError("the storage is closed; create a new one to go on")
            if not self._opened:
                await self.backend.open()
                self._opened = True

    async def missing_store(self) -> str | None:
        return await self.backend.missing_store()

    async def close(self) -> None:
        self._closed = True
        async with self._opening:  # one that is opening is closed afterwards
            while self._under_way:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            if not self._released:  # never opened, it may still hold what its constructor made
                await self.backend.close()
                self._released = True

    def _unsupported(self, capability: Capability) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            f"{type(self.backend).__name__} has only the four methods of StorageBackend, not the capability "
            f"{capability.name}; choose a backend that declares it (`oacp-storage backends` lists those installed)"
        )

    async def _call(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        await self.open()
        self._under_way += 1
        try:
            return await call()
        finally:
            self._under_way -= 1
            if not self._under_way and self._idle is not None and not self._idle.done():
                self._idle.set_result(None)
