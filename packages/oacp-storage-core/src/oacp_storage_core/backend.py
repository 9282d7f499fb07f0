"""``StorageBackend``: the least a backend is, four methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar, Self

INTERFACE_VERSIONS = range(1, 2)
"""The interface versions that this core can hold; ``interface=`` of a backend must be one of them."""


class StorageBackend(ABC):
    """Four abstract methods; everything else has a default. ``Storage`` is the whole interface.

    **Values.** Payloads are JSON objects (``dict`` with ``str`` keys). What is returned is the caller's own:
    changing it changes nothing stored.

    **Missing values.** An agent that was never written to has no interactions (``[]``) and no state (None).

    **Order.** Interactions of one agent come back in the order in which they were stored.

    **Concurrency.** Any number of tasks of one event loop may call at once.

    **Ownership.** ``close()`` closes what the backend opened itself, never a client that was handed in.

    **Errors.** Only ``StorageError`` and its subclasses, besides ``ValueError`` and ``TypeError`` for arguments.

    A subclass may name the interface version it was written for, ``class Mine(StorageBackend, interface=1)``;
    without it, it is 1, for ever. No ``__init__`` of this class needs to be called.
    """

    interface_version: ClassVar[int] = 1

    durable: ClassVar[bool] = True
    """Whether acknowledged data survives the end of the process."""

    multiprocess: ClassVar[bool] = True
    """Whether several processes may use the same store at once."""

    relative_urls: ClassVar[bool] = False
    """Whether ``scheme:///x`` names the relative path x. Then, in a configuration file, it is relative to that
    file; the class is given an absolute one, ``scheme:////directory/x``."""

    def __init_subclass__(cls, *, interface: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if interface is not None:
            cls.interface_version = interface

    @abstractmethod
    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        """Append to the agent's log and return the interaction's id."""

    @abstractmethod
    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest ``limit`` interactions, oldest first; ``[]`` when there are none or ``limit`` is 0.

        Raises ``ValueError`` for a negative limit.
        """

    @abstractmethod
    async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> int | None:
        """Replace the agent's state; returns its new version, or None from a store that keeps no versions."""

    @abstractmethod
    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        """The agent's state, or None when there is none."""

    async def open(self) -> None:  # noqa: B027 - a default that does nothing is the contract
        """Connect now instead of at the first use. Not atomic with anything; by default it does nothing."""

    async def close(self) -> None:  # noqa: B027 - a default that does nothing is the contract
        """Release everything; may be called again. By default it does nothing."""

    async def missing_store(self) -> str | None:
        """Where the store would be made, the path of a file for example, if there is none yet; else None.

        It looks without opening or making anything, so that who only wants to read can be told of a mistyped
        place. Opening goes on making what is missing. By default, and where only opening can tell (a server, a
        store in memory), it is None.
        """
        return None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
