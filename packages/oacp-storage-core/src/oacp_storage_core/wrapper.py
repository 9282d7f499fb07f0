"""``StorageWrapper``: a storage in front of another, from which wrappers derive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from oacp_storage_core.capability import ALL_CAPABILITIES, Capability
from oacp_storage_core.records import Damage, Deletion, Document, Health, Interaction, Turn
from oacp_storage_core.storage import Change, Storage, Where


class StorageWrapper(Storage):
    """Passes every call on to ``wrapped``; override what is to be different.

    Each method stands for itself: overriding ``store_interaction`` changes nothing about
    ``store_interactions``, ``record_turn`` or ``import_records``, which carry interactions too. A wrapper that
    must see everything therefore sets ``declares`` to the capabilities that it has seen to: the methods of all
    others then raise ``UnsupportedOperationError`` instead of passing data by it.

    Opening and closing it opens and closes ``wrapped``.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    def __init__(self, wrapped: Storage) -> None:
        self.wrapped = wrapped
        # Attributes of the class elsewhere; here those of the wrapped storage count.
        vars(self).update(durable=wrapped.durable, multiprocess=wrapped.multiprocess)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the wrapped storage, as far as this class declares them."""
        return self.wrapped.capabilities & self.declares

    def _with(self, capability: Capability) -> Storage:
        """The wrapped storage, if this class declares the capability."""
        if capability not in self.declares:
            raise self._unsupported(capability)
        return self.wrapped

    async def open(self) -> None:
        await self.wrapped.open()

    async def close(self) -> None:
        await self.wrapped.close()

    async def missing_store(self) -> str | None:
        return await self.wrapped.missing_store()

    # --- interactions -------------------------------------------------------------------------------------

    async def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        if interaction_id is None and timestamp is None:
            return await self.wrapped.store_interaction(agent_id, interaction)
        return await self._with(Capability.IDEMPOTENT_APPEND).store_interaction(
            agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
        )

    async def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        return await self._with(Capability.BATCH_APPEND).store_interactions(agent_id, interactions)

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        return await self.wrapped.get_interactions(agent_id, limit)

    def iter_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[Interaction]:
        return self._with(Capability.HISTORY).iter_interactions(
            agent_id,
            after=after,
            before=before,
            since=since,
            until=until,
            where=where,
            reverse=reverse,
            limit=limit,
        )

    async def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        return await self._with(Capability.HISTORY).get_interaction(agent_id, interaction_id)

    async def count_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
    ) -> int:
        return await self._with(Capability.HISTORY).count_interactions(
            agent_id, after=after, before=before, since=since, until=until, where=where
        )

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        return self._with(Capability.WATCH).watch_interactions(agent_id, after=after)

    async def delete_interactions(
        self,
        agent_id: str | None = None,
        *,
        ids: Iterable[str] | None = None,
        before: datetime | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> int:
        return await self._with(Capability.RETENTION).delete_interactions(
            agent_id, ids=ids, before=before, keep_last=keep_last, dry_run=dry_run
        )

    # --- agent state --------------------------------------------------------------------------------------

    async def store_agent_state(
        self, agent_id: str, state: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        if expected_version is None:
            return await self.wrapped.store_agent_state(agent_id, state)
        return await self._with(Capability.VERSIONED_STATE).store_agent_state(
            agent_id, state, expected_version=expected_version
        )

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        return await self.wrapped.get_agent_state(agent_id)

    async def get_agent_state_document(self, agent_id: str) -> Document | None:
        return await self._with(Capability.VERSIONED_STATE).get_agent_state_document(agent_id)

    async def update_agent_state(self, agent_id: str, change: Change) -> Document | None:
        return await self._with(Capability.VERSIONED_STATE).update_agent_state(agent_id, change)

    async def delete_agent_state(self, agent_id: str, *, expected_version: int | None = None) -> bool:
        return await self._with(Capability.VERSIONED_STATE).delete_agent_state(
            agent_id, expected_version=expected_version
        )

    # --- learning data ------------------------------------------------------------------------------------

    async def store_learning_data(
        self, agent_id: str, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        return await self._with(Capability.LEARNING_DATA).store_learning_data(
            agent_id, key, data, expected_version=expected_version
        )

    async def get_learning_data(self, agent_id: str, key: str) -> dict[str, Any] | None:
        return await self._with(Capability.LEARNING_DATA).get_learning_data(agent_id, key)

    async def get_learning_data_document(self, agent_id: str, key: str) -> Document | None:
        return await self._with(Capability.LEARNING_DATA).get_learning_data_document(agent_id, key)

    async def update_learning_data(self, agent_id: str, key: str, change: Change) -> Document | None:
        return await self._with(Capability.LEARNING_DATA).update_learning_data(agent_id, key, change)

    async def delete_learning_data(
        self, agent_id: str, key: str, *, expected_version: int | None = None
    ) -> bool:
        return await self._with(Capability.LEARNING_DATA).delete_learning_data(
            agent_id, key, expected_version=expected_version
        )

    async def list_learning_data(
        self, agent_id: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        return await self._with(Capability.LEARNING_DATA).list_learning_data(
            agent_id, prefix=prefix, after=after, limit=limit
        )

    # --- system state -------------------------------------------------------------------------------------

    async def store_system_state(
        self, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        return await self._with(Capability.SYSTEM_STATE).store_system_state(
            key, data, expected_version=expected_version
        )

    async def get_system_state(self, key: str) -> dict[str, Any] | None:
        return await self._with(Capability.SYSTEM_STATE).get_system_state(key)

    async def get_system_state_document(self, key: str) -> Document | None:
        return await self._with(Capability.SYSTEM_STATE).get_system_state_document(key)

    async def update_system_state(self, key: str, change: Change) -> Document | None:
        return await self._with(Capability.SYSTEM_STATE).update_system_state(key, change)

    async def delete_system_state(self, key: str, *, expected_version: int | None = None) -> bool:
        return await self._with(Capability.SYSTEM_STATE).delete_system_state(
            key, expected_version=expected_version
        )

    async def list_system_state(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        return await self._with(Capability.SYSTEM_STATE).list_system_state(
            prefix=prefix, after=after, limit=limit
        )

    # --- turns, agents, upkeep ----------------------------------------------------------------------------

    async def record_turn(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Mapping[str, Any] | Interaction] = (),
        state: dict[str, Any] | None = None,
        expected_version: int | None = None,
        learning: Mapping[str, dict[str, Any]] | None = None,
    ) -> Turn:
        return await self._with(Capability.TURN).record_turn(
            agent_id,
            interactions=interactions,
            state=state,
            expected_version=expected_version,
            learning=learning,
        )

    async def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        return await self._with(Capability.AGENTS).list_agents(prefix=prefix, after=after, limit=limit)

    async def delete_agent(self, agent_id: str) -> Deletion:
        return await self._with(Capability.AGENTS).delete_agent(agent_id)

    async def health(self) -> Health:
        return await self.wrapped.health()

    def verify(self) -> AsyncIterator[Damage]:
        return self._with(Capability.VERIFY).verify()

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        await self._with(Capability.IMPORT).import_records(
            agent_id, interactions=interactions, state=state, learning=learning
        )

    async def import_system_state(self, document: Document) -> None:
        await self._with(Capability.IMPORT).import_system_state(document)
