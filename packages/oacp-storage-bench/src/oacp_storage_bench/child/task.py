"""What a task is: opened once, then asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from oacp_storage_core import Storage, create_storage


class Task(ABC):
    """Something that another process does. ``spec`` is what the parent said at the beginning."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    @abstractmethod
    async def open(self) -> dict[str, Any]:
        """Make ready, and say what the parent should know."""

    @abstractmethod
    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""

    @abstractmethod
    async def close(self) -> None:
        """Clean up; also after a failure."""


class StorageTask(Task):
    """A task on the storage that is measured."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.storage: Storage = create_storage(spec["source"], **spec["options"])

    async def open(self) -> dict[str, Any]:
        """Connect."""
        await self.storage.open()
        return {}

    async def close(self) -> None:
        """Disconnect."""
        await self.storage.close()
