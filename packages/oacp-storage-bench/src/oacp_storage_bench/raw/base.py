"""What a raw part is: the leanest correct use of a bare driver, at the same durability, on the same payloads.

It keeps of each interaction what we keep: agent, a place in the order, an id, the time and the payload. It checks
nothing, judges nothing and is told by nobody else what to write next, so it is the limit of what can be had.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar, NamedTuple
from uuid import uuid4

from oacp_storage_bench.place import Place
from oacp_storage_core import Durability

Entry = tuple[str, dict[str, Any]]
"""An agent and a payload."""


class Unavailable(Exception):
    """A raw part or peer that cannot be used here; the message says why, and what to install."""


class Stamp(NamedTuple):
    """What an interaction is given before it is written."""

    sequence: int
    id: str
    at_us: int


class Raw(ABC):
    """A bare driver at work. ``durability`` and ``settings`` are known once it is open."""

    name: ClassVar[str]
    """The driver, as rows name it."""
    slug: ClassVar[str]
    """The driver, as keys name it."""
    lanes: ClassVar[int] = 1
    """How many batches are under way at once, each on a connection of its own."""
    only_single: ClassVar[bool] = False
    """Whether only its single commits are of interest."""
    reads_logs: ClassVar[bool] = True
    """Whether it can find the newest interactions of one agent without reading those of all."""

    durability: Durability = "unknown"
    settings: str = ""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._sequences = itertools.count(1)

    def stamp(self) -> Stamp:
        """For the next interaction."""
        return Stamp(next(self._sequences), str(uuid4()), time.time_ns() // 1000)

    @abstractmethod
    async def open(self) -> None:
        """Connect and make what is needed; raises ``Unavailable``."""

    @abstractmethod
    async def close(self) -> None:
        """Remove what was made on a server, and disconnect."""

    async def forget(self, agents: Sequence[str]) -> None:
        """Delete the logs of these agents; only for stores that keep them in memory."""
        raise NotImplementedError(f"{self.name} forgets nothing")

    @abstractmethod
    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """Write these in one commit."""

    async def bulk(self, entries: Sequence[Entry]) -> None:
        """Write very many in one commit, the fastest way there is."""
        await self.append(entries)

    @abstractmethod
    async def put(self, key: str, document: dict[str, Any]) -> None:
        """Replace a document, in one commit."""

    @abstractmethod
    async def get(self, key: str) -> dict[str, Any] | None:
        """Read a document."""

    async def last(self, agent: str, limit: int) -> list[dict[str, Any]]:
        """The newest interactions of an agent, oldest first; only where ``reads_logs``."""
        raise NotImplementedError(f"{self.name} does not read logs")

    @abstractmethod
    async def count(self) -> int:
        """How many interactions there are, as the store tells."""


def driver(module: str, install: str) -> Any:
    """A driver, imported now; ``Unavailable`` when it is not there."""
    try:
        return import_module(module)
    except ImportError as exc:
        raise Unavailable(f"{module} cannot be imported ({exc}): pip install {install}") from exc
