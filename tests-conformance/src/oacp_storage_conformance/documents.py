"""The three kinds of versioned documents behind one face, so that each test runs on all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oacp_storage_core import Capability, Change, Document, Storage

if TYPE_CHECKING:
    from oacp_storage_conformance.place import Place


@dataclass(frozen=True)
class DocumentKind:
    """One kind of documents, by the noun in its methods' names."""

    noun: str
    needs: tuple[Capability, ...]

    def named(self, place: Place, label: str) -> tuple[str, ...]:
        """The arguments that name the document called ``label`` at this place."""
        if self.noun == "learning_data":
            return place.name("learner"), label
        return (place.name(label),)

    def of(self, storage: Storage, address: tuple[str, ...]) -> DocumentHandle:
        """The document of that address, by this storage."""
        return DocumentHandle(storage, self.noun, address)


KINDS = {
    "agent_state": DocumentKind("agent_state", (Capability.VERSIONED_STATE,)),
    "learning_data": DocumentKind("learning_data", (Capability.LEARNING_DATA,)),
    "system_state": DocumentKind("system_state", (Capability.SYSTEM_STATE,)),
}


@dataclass(frozen=True)
class DocumentHandle:
    """One document by one storage; its methods are those of the storage for that kind."""

    storage: Storage
    noun: str
    address: tuple[str, ...]

    async def store(self, data: dict[str, Any], expected: int | None = None) -> int:
        """``store_...``; without ``expected`` the keyword is not passed."""
        options = {} if expected is None else {"expected_version": expected}
        version: int = await getattr(self.storage, f"store_{self.noun}")(*self.address, data, **options)
        return version

    async def get(self) -> dict[str, Any] | None:
        """``get_...``."""
        data: dict[str, Any] | None = await getattr(self.storage, f"get_{self.noun}")(*self.address)
        return data

    async def document(self) -> Document | None:
        """``get_..._document``."""
        document: Document | None = await getattr(self.storage, f"get_{self.noun}_document")(*self.address)
        return document

    async def update(self, change: Change) -> Document | None:
        """``update_...``."""
        document: Document | None = await getattr(self.storage, f"update_{self.noun}")(*self.address, change)
        return document

    async def delete(self, expected: int | None = None) -> bool:
        """``delete_...``; without ``expected`` the keyword is not passed."""
        options = {} if expected is None else {"expected_version": expected}
        deleted: bool = await getattr(self.storage, f"delete_{self.noun}")(*self.address, **options)
        return deleted

    async def state(self) -> tuple[int, dict[str, Any] | None]:
        """Version and data as stored, (0, None) when there is none."""
        document = await self.document()
        return (0, None) if document is None else (document.version, document.data)
