"""The versioned documents of ``MemoryStorage``: agent state, learning data, system state, by the same rules."""

from __future__ import annotations

import inspect
from typing import Any

from oacp_storage_core.arguments import check_expected_version, check_list, check_payload
from oacp_storage_core.errors import VersionConflictError
from oacp_storage_core.memory_lifecycle import MemoryLifecycle, give_way
from oacp_storage_core.memory_store import names_in_order
from oacp_storage_core.names import check_name
from oacp_storage_core.records import DataKind, Document
from oacp_storage_core.storage import Change


class MemoryDocuments(MemoryLifecycle):
    """The methods of documents. The key of an agent's state is ``""``; system state has no agent."""

    async def store_agent_state(
        self, agent_id: str, state: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace the agent's state and return its new version."""
        return await self._store("agent_state", check_name(agent_id), "", state, expected_version)

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        """The agent's state, or None."""
        return _data_of(await self.get_agent_state_document(agent_id))

    async def get_agent_state_document(self, agent_id: str) -> Document | None:
        """The agent's state with version and time, or None."""
        return await self._get("agent_state", check_name(agent_id), "")

    async def update_agent_state(self, agent_id: str, change: Change) -> Document | None:
        """Read, ``change``, compare-and-set, and again on conflict."""
        return await self._update("agent_state", check_name(agent_id), "", change)

    async def delete_agent_state(self, agent_id: str, *, expected_version: int | None = None) -> bool:
        """Delete the agent's state; whether there was one."""
        return await self._delete("agent_state", check_name(agent_id), "", expected_version)

    async def store_learning_data(
        self, agent_id: str, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace what the agent learned under ``key`` and return its new version."""
        agent_id, key = check_name(agent_id), check_name(key, "learning key")
        return await self._store("learning_data", agent_id, key, data, expected_version)

    async def get_learning_data(self, agent_id: str, key: str) -> dict[str, Any] | None:
        """The data under ``key``, or None."""
        return _data_of(await self.get_learning_data_document(agent_id, key))

    async def get_learning_data_document(self, agent_id: str, key: str) -> Document | None:
        """The data under ``key`` with version and time, or None."""
        return await self._get("learning_data", check_name(agent_id), check_name(key, "learning key"))

    async def update_learning_data(self, agent_id: str, key: str, change: Change) -> Document | None:
        """As ``update_agent_state``, for one key."""
        return await self._update(
            "learning_data", check_name(agent_id), check_name(key, "learning key"), change
        )

    async def delete_learning_data(
        self, agent_id: str, key: str, *, expected_version: int | None = None
    ) -> bool:
        """Delete the data under ``key``; whether there was any."""
        agent_id, key = check_name(agent_id), check_name(key, "learning key")
        return await self._delete("learning_data", agent_id, key, expected_version)

    async def list_learning_data(
        self, agent_id: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """Documents by key in code-point order, keys greater than ``after`` only."""
        return await self._list("learning_data", check_name(agent_id), prefix, after, limit)

    async def store_system_state(
        self, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace the system state under ``key`` and return its new version."""
        return await self._store("system_state", None, check_name(key, "system key"), data, expected_version)

    async def get_system_state(self, key: str) -> dict[str, Any] | None:
        """The system state under ``key``, or None."""
        return _data_of(await self.get_system_state_document(key))

    async def get_system_state_document(self, key: str) -> Document | None:
        """The system state under ``key`` with version and time, or None."""
        return await self._get("system_state", None, check_name(key, "system key"))

    async def update_system_state(self, key: str, change: Change) -> Document | None:
        """As ``update_agent_state``, for one key of system state."""
        return await self._update("system_state", None, check_name(key, "system key"), change)

    async def delete_system_state(self, key: str, *, expected_version: int | None = None) -> bool:
        """Delete the system state under ``key``; whether there was any."""
        return await self._delete("system_state", None, check_name(key, "system key"), expected_version)

    async def list_system_state(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """System state by key in code-point order, keys greater than ``after`` only."""
        return await self._list("system_state", None, prefix, after, limit)

    async def _store(
        self, kind: DataKind, agent_id: str | None, key: str, payload: object, expected: int | None
    ) -> int:
        body, _ = check_payload(payload, self._coerce)
        expected = check_expected_version(expected)
        with self._use() as data:
            version = data.put(kind, agent_id, key, body, expected)
        await give_way()
        return version

    async def _get(self, kind: DataKind, agent_id: str | None, key: str) -> Document | None:
        with self._use() as data:
            document = data.documents(kind, agent_id).read(key)
        await give_way()
        return document

    async def _update(
        self, kind: DataKind, agent_id: str | None, key: str, change: Change
    ) -> Document | None:
        while True:
            present = await self._get(kind, agent_id, key)
            changed = change(_data_of(present))
            if inspect.isawaitable(changed):
                changed = await changed
            if changed is None:
                return await self._get(kind, agent_id, key)
            body, _ = check_payload(changed, self._coerce)
            try:
                with self._use() as data:
                    data.put(kind, agent_id, key, body, present.version if present else 0)
                    document = data.documents(kind, agent_id).read(key)
            except VersionConflictError:
                continue
            await give_way()
            return document

    async def _delete(self, kind: DataKind, agent_id: str | None, key: str, expected: int | None) -> bool:
        expected = check_expected_version(expected)
        with self._use() as data:
            existed = data.delete(kind, agent_id, key, expected)
        await give_way()
        return existed

    async def _list(
        self, kind: DataKind, agent_id: str | None, prefix: str, after: str | None, limit: int
    ) -> list[Document]:
        prefix, after, limit = check_list(prefix, after, limit)
        with self._use() as data:
            documents = data.documents(kind, agent_id)
            keys = names_in_order(documents.stored, prefix, after, limit)
            listed = [document for key in keys if (document := documents.read(key)) is not None]
        await give_way()
        return listed


def _data_of(document: Document | None) -> dict[str, Any] | None:
    return None if document is None else document.data
