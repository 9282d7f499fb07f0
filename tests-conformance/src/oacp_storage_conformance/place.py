"""``Place``: what a test works with, storages at a place of its own under names of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from oacp_storage_conformance.patience import soon
from oacp_storage_core import Capability, Interaction, Storage, StorageError

if TYPE_CHECKING:
    from oacp_storage_conformance.setting import Setting


class Place:
    """One place in the store, and the storages that a test opened there.

    ``storage`` is the one under test. ``await second()`` is another instance at the same place, by which a
    test looks at what is really stored.
    """

    def __init__(self, setting: Setting, storage: Storage) -> None:
        self.setting = setting
        self.storage = storage
        self._opened: list[Storage] = [storage]
        self._second: Storage | None = None

    @property
    def has(self) -> Callable[[Capability], bool]:
        """``place.has(Capability.HISTORY)``: whether the storage declares it."""
        return self.storage.capabilities.__contains__

    async def second(self) -> Storage:
        """The other instance, opened at the first call."""
        if self._second is None:
            self._second = await self.open()
        return self._second

    async def open(self, **options: Any) -> Storage:
        """One more instance at this place, closed at the end of the test."""
        storage = self.build(**options)
        await soon(storage.open(), "open() of one more instance")
        return storage

    def build(self, **options: Any) -> Storage:
        """One more instance at this place, not opened, closed at the end of the test."""
        storage = self.setting.build(**options)
        self._opened.append(storage)
        return storage

    def name(self, label: str) -> str:
        """A name for an agent or a key of system state: ``label`` itself where the place is the suite's own."""
        return self.setting.name(label)

    async def close_all(self) -> None:
        """Close every instance; the place stays usable, for the next ``open``."""
        opened, self._opened = self._opened, []
        self._second = None
        for storage in opened:
            await soon(storage.close(), "close()")

    async def reopen(self) -> Storage:
        """Close every instance and open a new ``storage``: what it shows came from the store."""
        await self.close_all()
        self.storage = await self.open()
        return self.storage

    async def fill(self, agent_id: str, count: int, *, start: int = 1) -> list[str]:
        """Append ``{"n": start}``, ``{"n": start + 1}`` ... and return the ids."""
        payloads = [{"n": n} for n in range(start, start + count)]
        if self.has(Capability.BATCH_APPEND):
            return await self.storage.store_interactions(agent_id, payloads)
        return [await self.storage.store_interaction(agent_id, payload) for payload in payloads]

    async def log(self, agent_id: str, **query: Any) -> list[Interaction]:
        """The agent's log as the second instance iterates over it."""
        other = await self.second()
        return await collect(other.iter_interactions(agent_id, **query))

    async def payloads(self, agent_id: str, limit: int = 10_000) -> list[dict[str, Any]]:
        """The agent's newest payloads as the second instance gets them."""
        other = await self.second()
        return await other.get_interactions(agent_id, limit)


async def collect(records: AsyncIterator[Interaction], limit: int | None = None) -> list[Interaction]:
    """The records, at most ``limit`` of them."""
    found: list[Interaction] = []
    if limit == 0:
        return found
    async for record in records:
        found.append(record)
        if limit is not None and len(found) >= limit:
            break
    return found


def sequences(records: Sequence[Interaction]) -> list[int]:
    """The sequences of the records, in their order."""
    return [record.sequence for record in records]


@asynccontextmanager
async def at(setting: Setting) -> AsyncIterator[Place]:
    """A place with an open storage; in the end all is closed, and what the test wrote is removed."""
    place = Place(setting, setting.build())
    try:
        await soon(place.storage.open(), "open()")
        setting.settle(place.storage)
        yield place
    finally:
        await place.close_all()
        await remove_everything(setting)


@contextmanager
def tidied(setting: Setting) -> Iterator[None]:
    """For a test that runs event loops of its own: in the end, what it wrote is removed."""
    try:
        yield
    finally:
        asyncio.run(remove_everything(setting))


async def remove_everything(setting: Setting) -> None:
    """Delete what is in the suite's own namespaces, as far as the storage can; report what stays."""
    if not setting.tidy:
        return
    for options in [{"namespace": namespace} for namespace in setting.namespaces] or [{}]:
        storage = setting.build(**options)
        try:
            async with storage:
                await soon(_empty(storage, setting.prefix), "the removal of what the test wrote")
        except (StorageError, AssertionError) as exc:
            setting.leave_behind(f"{options or setting.prefix}: {exc}")


async def _empty(storage: Storage, prefix: str) -> None:
    last = None  # lists are read on by what came last: what cannot be deleted is not tried again
    while agents := await storage.list_agents(prefix=prefix, after=last):
        for last in agents:
            await storage.delete_agent(last)
    if Capability.SYSTEM_STATE in storage.capabilities:
        last = None
        while documents := await storage.list_system_state(prefix=prefix, after=last):
            for last in (document.key for document in documents):
                await storage.delete_system_state(last)
    left = len(await storage.list_agents(prefix=prefix))
    assert not left, f"{left} agents could not be deleted"
