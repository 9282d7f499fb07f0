"""Documents: agent state, learning data and system state are one thing under three names."""

from __future__ import annotations

import asyncio
import inspect
import random
from typing import Any

from oacp_storage_core import Change, Document, Storage, VersionConflictError
from oacp_storage_core.arguments import check_body, check_expected_version, check_list, new_document
from oacp_storage_core.names import check_name
from oacp_storage_core.payload import decode
from oacp_storage_core.times import from_us, now_us
from oacp_storage_engine.checksum import document_crc
from oacp_storage_engine.codec import to_document
from oacp_storage_engine.primitives import DocKind, Put, Unit
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.writing import Writing

_CALM_CONFLICTS = 3  # conflicts in a row after which update waits a random moment
_LONGEST_PAUSE = 0.05


class Documents(Writing, Storage):
    """The part of ``EngineStorage`` that deals in versioned documents."""

    # --- agent state --------------------------------------------------------------------------------------

    async def store_agent_state(
        self, agent_id: str, state: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        return await self._store(check_name(agent_id), DocKind.STATE, "", state, expected_version)

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        document = await self.get_agent_state_document(agent_id)
        return None if document is None else document.data

    async def get_agent_state_document(self, agent_id: str) -> Document | None:
        return await self._read_document(check_name(agent_id), DocKind.STATE, "")

    async def update_agent_state(self, agent_id: str, change: Change) -> Document | None:
        return await self._update(check_name(agent_id), DocKind.STATE, "", change)

    async def delete_agent_state(self, agent_id: str, *, expected_version: int | None = None) -> bool:
        return await self._delete(check_name(agent_id), DocKind.STATE, "", expected_version)

    # --- learning data ------------------------------------------------------------------------------------

    async def store_learning_data(
        self, agent_id: str, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        agent, key = check_name(agent_id), check_name(key, "learning key")
        return await self._store(agent, DocKind.LEARNING, key, data, expected_version)

    async def get_learning_data(self, agent_id: str, key: str) -> dict[str, Any] | None:
        document = await self.get_learning_data_document(agent_id, key)
        return None if document is None else document.data

    async def get_learning_data_document(self, agent_id: str, key: str) -> Document | None:
        return await self._read_document(
            check_name(agent_id), DocKind.LEARNING, check_name(key, "learning key")
        )

    async def update_learning_data(self, agent_id: str, key: str, change: Change) -> Document | None:
        return await self._update(
            check_name(agent_id), DocKind.LEARNING, check_name(key, "learning key"), change
        )

    async def delete_learning_data(
        self, agent_id: str, key: str, *, expected_version: int | None = None
    ) -> bool:
        agent, key = check_name(agent_id), check_name(key, "learning key")
        return await self._delete(agent, DocKind.LEARNING, key, expected_version)

    async def list_learning_data(
        self, agent_id: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        return await self._list(check_name(agent_id), DocKind.LEARNING, prefix, after, limit)

    # --- system state -------------------------------------------------------------------------------------

    async def store_system_state(
        self, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        key = check_name(key, "system key")
        return await self._store(None, DocKind.SYSTEM, key, data, expected_version)

    async def get_system_state(self, key: str) -> dict[str, Any] | None:
        document = await self.get_system_state_document(key)
        return None if document is None else document.data

    async def get_system_state_document(self, key: str) -> Document | None:
        return await self._read_document(None, DocKind.SYSTEM, check_name(key, "system key"))

    async def update_system_state(self, key: str, change: Change) -> Document | None:
        return await self._update(None, DocKind.SYSTEM, check_name(key, "system key"), change)

    async def delete_system_state(self, key: str, *, expected_version: int | None = None) -> bool:
        return await self._delete(None, DocKind.SYSTEM, check_name(key, "system key"), expected_version)

    async def list_system_state(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        return await self._list(None, DocKind.SYSTEM, prefix, after, limit)

    # --- all of them --------------------------------------------------------------------------------------

    async def _store(
        self, agent: str | None, kind: DocKind, key: str, data: object, expected: int | None
    ) -> int:
        return await self._put(agent, self._new_put(agent, kind, key, data, check_expected_version(expected)))

    async def _put(self, agent: str | None, put: Put) -> int:
        with self._call() as runtime:
            applied = await self._write(runtime, Unit(agent, (), (put,)), len(put.body or b""))
        return applied.versions[0]

    async def _delete(self, agent: str | None, kind: DocKind, key: str, expected: int | None) -> bool:
        return await self._put(agent, Put(kind, key, None, 0, 0, check_expected_version(expected))) > 0

    async def _update(self, agent: str | None, kind: DocKind, key: str, change: Change) -> Document | None:
        conflicts = 0
        while True:
            document = await self._read_document(agent, kind, key)
            # Decoded for this call alone, the data may be changed in place; so what is returned is read again.
            changed = change(None if document is None else document.data)
            if inspect.isawaitable(changed):
                changed = await changed
            if changed is None:
                return await self._read_document(agent, kind, key)
            put = self._new_put(agent, kind, key, changed, document.version if document else 0)
            try:
                return document_of(put, await self._put(agent, put))
            except VersionConflictError:
                conflicts += 1
            if conflicts > _CALM_CONFLICTS:
                await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 - spreads retries

    async def _read_document(self, agent: str | None, kind: DocKind, key: str) -> Document | None:
        with self._call() as runtime:
            return (await self._read_documents(runtime, agent, kind, [key]))[0]

    async def _read_documents(
        self, runtime: Runtime, agent: str | None, kind: DocKind, keys: list[str]
    ) -> list[Document | None]:
        """One document or None per key, from one consistent view."""
        docs = await runtime.read(lambda: runtime.engine.read_docs(agent, kind, keys))
        return [None if doc is None else to_document(agent, kind, doc) for doc in docs]

    async def _list(
        self, agent: str | None, kind: DocKind, prefix: str, after: str | None, limit: int
    ) -> list[Document]:
        start, last, wanted = check_list(prefix, after, limit)
        if not wanted:
            return []
        with self._call() as runtime:
            docs = await runtime.read(
                lambda: runtime.engine.scan_docs(agent, kind, prefix=start, after=last, limit=wanted)
            )
        return [to_document(agent, kind, doc) for doc in docs]

    def _new_put(
        self,
        agent: str | None,
        kind: DocKind,
        key: str,
        data: object,
        expected: int | None = None,
        *,
        at: str = "$",
    ) -> Put:
        """The put of a checked payload."""
        body = check_body(data, self._coerce, at)
        at_us = now_us()
        return Put(kind, key, body, at_us, document_crc(kind, agent, key, at_us, body), expected)

    def _imported_put(self, agent: str | None, kind: DocKind, document: Document) -> Put:
        """The put of a document of another store, with its version and time."""
        new = new_document(document, coerce=self._coerce, is_state=kind is DocKind.STATE)
        crc = document_crc(kind, agent, new.key, new.at_us, new.body)
        return Put(kind, new.key, new.body, new.at_us, crc, None, new.version)


def document_of(put: Put, version: int) -> Document:
    """The document that this put has stored at this version, with a fresh copy of the payload."""
    return Document(put.key, decode(put.body or b""), version, from_us(put.at_us))
