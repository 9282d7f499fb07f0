"""Records: the small immutable objects that methods return.

They are ``msgspec`` structs: typed, frozen, compared by value, and cheap enough to stream millions. The
``data`` of a record belongs to whoever received it; changing it changes nothing stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

Durability = Literal["power-cut", "crash", "none", "unknown"]
"""What acknowledged data survives: a power cut, only the death of the process, or not even that."""

DataKind = Literal["interaction", "agent_state", "learning_data", "system_state", "store"]
"""What a ``Damage`` is about; ``store`` is damage that belongs to no single record."""


class Interaction(msgspec.Struct, frozen=True):
    """One entry of an agent's log.

    ``sequence`` is its place in the log (1, 2, 3 ...), ``timestamp`` an aware datetime in UTC, ``data``
    the payload. To store one with a given id and time, ``sequence`` may be left at 0: stores assign it.
    """

    agent_id: str
    id: str
    sequence: int
    timestamp: datetime
    data: dict[str, Any]


class Document(msgspec.Struct, frozen=True):
    """A versioned document: an agent's state (``key`` is ``""``), learning data, or system state."""

    key: str
    data: dict[str, Any]
    version: int
    updated_at: datetime


class Turn(msgspec.Struct, frozen=True):
    """What ``record_turn`` left in the store.

    ``state`` is None when the turn had none, ``learning`` maps keys to documents. When ``replayed`` is
    true nothing was written: the interactions are the ones found, state and learning as they are now.
    """

    interactions: tuple[Interaction, ...]
    state: Document | None
    learning: Mapping[str, Document]
    replayed: bool = False


class Deletion(msgspec.Struct, frozen=True):
    """What ``delete_agent`` removed, as counts."""

    agent_id: str
    interactions: int
    states: int
    learning: int

    def __bool__(self) -> bool:
        """Whether there was anything to remove."""
        return bool(self.interactions or self.states or self.learning)


class Health(msgspec.Struct, frozen=True):
    """The condition of a storage. ``latency`` is the seconds of one round trip, None when not ``ok``."""

    ok: bool
    backend: str
    latency: float | None = None
    server_version: str | None = None
    schema_version: int | None = None
    durability: Durability = "unknown"
    warnings: tuple[str, ...] = ()
    error: str | None = None


class Damage(msgspec.Struct, frozen=True):
    """One thing that ``verify`` found not to be as it was written."""

    kind: DataKind
    reason: str
    agent_id: str | None = None
    sequence: int | None = None
    key: str | None = None
