"""What a peer is: a library of others that keeps what agents said, in its natural asynchronous use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from oacp_storage_bench.place import Place
from oacp_storage_core import Durability


class Peer(ABC):
    """A library at work. It may raise what it likes; whoever runs it tells the user.

    ``durability`` and ``settings`` are known once it is open. It is set to the durability of the storage beside it
    wherever it can be.
    """

    title: ClassVar[str]
    """As rows name it."""
    family: ClassVar[str]
    """The kind of store that it is measured on."""
    distributions: ClassVar[tuple[str, ...]]
    """Whose versions are told."""

    durability: Durability = "unknown"
    settings: str = ""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    async def open(self) -> None:
        """Connect and make what is needed; raises ``Unavailable`` where something is not installed."""

    @abstractmethod
    async def append(self, agent: str, payload: dict[str, Any]) -> None:
        """Keep one message, acknowledged as the library does it."""

    @abstractmethod
    async def newest(self, agent: str) -> str:
        """The ``content`` of the agent's newest message: proof that it is kept."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect, and remove what was made on a server."""
