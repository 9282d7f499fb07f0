"""``Storage``: the whole interface, which applications hold and ``create_storage`` returns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from oacp_storage_core.backend import StorageBackend
from oacp_storage_core.capability import Capability
from oacp_storage_core.errors import UnsupportedOperationError
from oacp_storage_core.records import Damage, Deletion, Document, Health, Interaction, Turn

Change = Callable[[dict[str, Any] | None], dict[str, Any] | Awaitable[dict[str, Any] | None] | None]
"""Takes the present data or None and returns the new data, or None to write nothing. It may be async, and
may run several times."""

Where = Mapping[str, Any]
"""Conditions on a payload: path to value or operators (see ``oacp_storage_core.where.compile_where``)."""


class Storage(StorageBackend):
    """A log per agent and versioned documents, behind one asynchronous interface.

    **Two things only.** Each agent has a *log* of interactions with sequence 1, 2, 3 ..., assigned by the
    store without gaps and never reused. Everything else is a *document* with a version that starts at 1 and
    grows by 1: one state per agent, learning data per agent and key, system state per key.

    **Capabilities.** Beyond the four methods, each method belongs to a capability. A storage declares those
    it keeps wholly; the methods of others raise ``UnsupportedOperationError``. Nothing is emulated.

    **Durability.** When a store call returns, the data is durable at the storage's durability (``health()``
    tells). A call that raises wrote nothing, except ``OutcomeUnknownError``, which says that it may have.

    **Cancellation.** A cancelled call has happened wholly or not at all.

    **Conditions.** ``expected_version=n`` writes only if the document is at version n, ``0`` only if there is
    none; otherwise ``VersionConflictError``, and nothing is written.

    **Errors.** ``InvalidKeyError`` and ``InvalidPayloadError`` for what may not be stored, ``ValueError`` or
    ``TypeError`` for other arguments, else ``StorageError`` subclasses, whose messages say what to do.
    """

    declares: ClassVar[frozenset[Capability]] = frozenset()
    """The capabilities of the class; an instance has these or fewer."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this storage can do; final once ``open()`` has returned."""
        return self.declares

    def _unsupported(self, capability: Capability) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            f"{type(self).__name__} does not declare the capability {capability.name}; choose a backend that "
            "does (`oacp-storage backends` lists those installed)"
        )

    # --- interactions -------------------------------------------------------------------------------------

    async def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        """Append to the agent's log and return the id.

        With ``interaction_id`` (IDEMPOTENT_APPEND) the same id again for that agent returns it and changes
        nothing; with another payload it raises ``DuplicateIdError``. ``timestamp`` is an aware datetime, by
        default now.
        """
        raise self._unsupported(Capability.IDEMPOTENT_APPEND)

    async def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        """Append all or nothing, and return the ids in order (BATCH_APPEND).

        ``Interaction`` records keep their ids and timestamps, and each is idempotent by itself.
        At most 20,000 interactions and 32 MiB of JSON, otherwise ``PayloadTooLargeError``.
        """
        raise self._unsupported(Capability.BATCH_APPEND)

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
        """Stream the agent's log by pages, whatever its length (HISTORY).

        ``after`` and ``before`` are exclusive bounds of the sequence, ``since`` is inclusive and ``until``
        exclusive. ``limit`` counts what passes all conditions. Ends at the head seen with the first page.
        A damaged record raises ``CorruptDataError``; the iteration may go on after it.
        """
        raise self._unsupported(Capability.HISTORY)

    async def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        """The interaction of that id, or None (HISTORY)."""
        raise self._unsupported(Capability.HISTORY)

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
        """How many interactions ``iter_interactions`` would yield (HISTORY)."""
        raise self._unsupported(Capability.HISTORY)

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        """Everything after sequence ``after``, then live, without end (WATCH).

        ``None`` starts at the head at the first ``__anext__``. Nothing acknowledged is skipped or repeated;
        deleted interactions are passed over. ``close()`` ends it with ``StorageClosedError``.
        """
        raise self._unsupported(Capability.WATCH)

    async def delete_interactions(
        self,
        agent_id: str | None = None,
        *,
        ids: Iterable[str] | None = None,
        before: datetime | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete by id, by time (exclusive) and by count, all of which must hold; returns how many (RETENTION).

        ``keep_last`` counts existing interactions per agent. Without ``agent_id`` it is for all agents of the
        namespace. What remains keeps its sequence. Works in bounded steps and may be repeated.
        ``ValueError`` without any criterion, and for ``ids`` without ``agent_id``.
        """
        raise self._unsupported(Capability.RETENTION)

    # --- agent state --------------------------------------------------------------------------------------

    async def store_agent_state(
        self, agent_id: str, state: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace the agent's state and return its new version (0 from a store that keeps no versions).

        ``expected_version`` belongs to VERSIONED_STATE.
        """
        raise self._unsupported(Capability.VERSIONED_STATE)

    async def get_agent_state_document(self, agent_id: str) -> Document | None:
        """The agent's state with version and time, or None (VERSIONED_STATE)."""
        raise self._unsupported(Capability.VERSIONED_STATE)

    async def update_agent_state(self, agent_id: str, change: Change) -> Document | None:
        """Read, ``change``, compare-and-set, and again on conflict; returns the document as it then is.

        When ``change`` returns None nothing is written (VERSIONED_STATE).
        """
        raise self._unsupported(Capability.VERSIONED_STATE)

    async def delete_agent_state(self, agent_id: str, *, expected_version: int | None = None) -> bool:
        """Delete the agent's state; whether there was one (VERSIONED_STATE)."""
        raise self._unsupported(Capability.VERSIONED_STATE)

    # --- learning data ------------------------------------------------------------------------------------

    async def store_learning_data(
        self, agent_id: str, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace what the agent learned under ``key`` and return its new version (LEARNING_DATA)."""
        raise self._unsupported(Capability.LEARNING_DATA)

    async def get_learning_data(self, agent_id: str, key: str) -> dict[str, Any] | None:
        """The data under ``key``, or None (LEARNING_DATA)."""
        raise self._unsupported(Capability.LEARNING_DATA)

    async def get_learning_data_document(self, agent_id: str, key: str) -> Document | None:
        """The data under ``key`` with version and time, or None (LEARNING_DATA)."""
        raise self._unsupported(Capability.LEARNING_DATA)

    async def update_learning_data(self, agent_id: str, key: str, change: Change) -> Document | None:
        """As ``update_agent_state``, for one key (LEARNING_DATA)."""
        raise self._unsupported(Capability.LEARNING_DATA)

    async def delete_learning_data(
        self, agent_id: str, key: str, *, expected_version: int | None = None
    ) -> bool:
        """Delete the data under ``key``; whether there was any (LEARNING_DATA)."""
        raise self._unsupported(Capability.LEARNING_DATA)

    async def list_learning_data(
        self, agent_id: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """Documents by key in code-point order, keys greater than ``after`` only (LEARNING_DATA)."""
        raise self._unsupported(Capability.LEARNING_DATA)

    # --- system state -------------------------------------------------------------------------------------

    async def store_system_state(
        self, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace the system state under ``key`` and return its new version (SYSTEM_STATE)."""
        raise self._unsupported(Capability.SYSTEM_STATE)

    async def get_system_state(self, key: str) -> dict[str, Any] | None:
        """The system state under ``key``, or None (SYSTEM_STATE)."""
        raise self._unsupported(Capability.SYSTEM_STATE)

    async def get_system_state_document(self, key: str) -> Document | None:
        """The system state under ``key`` with version and time, or None (SYSTEM_STATE)."""
        raise self._unsupported(Capability.SYSTEM_STATE)

    async def update_system_state(self, key: str, change: Change) -> Document | None:
        """As ``update_agent_state``, for one key of system state (SYSTEM_STATE)."""
        raise self._unsupported(Capability.SYSTEM_STATE)

    async def delete_system_state(self, key: str, *, expected_version: int | None = None) -> bool:
        """Delete the system state under ``key``; whether there was any (SYSTEM_STATE)."""
        raise self._unsupported(Capability.SYSTEM_STATE)

    async def list_system_state(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """System state by key in code-point order, keys greater than ``after`` only (SYSTEM_STATE)."""
        raise self._unsupported(Capability.SYSTEM_STATE)

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
        """What an agent did in one turn and the state it ended in, together or not at all (TURN).

        ``state=None`` leaves the state as it is; ``expected_version`` without ``state`` is ``ValueError``;
        ``learning`` maps keys to data and is put unconditionally. If every interaction has a given id and all
        exist with the same payloads, nothing is written and ``replayed`` is true; if only some exist,
        ``DuplicateIdError``.
        """
        raise self._unsupported(Capability.TURN)

    async def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        """Agent ids in code-point order, from each agent's first write until ``delete_agent`` (AGENTS)."""
        raise self._unsupported(Capability.AGENTS)

    async def delete_agent(self, agent_id: str) -> Deletion:
        """Delete everything of the agent and count it (AGENTS).

        It is hidden at once and erased before this returns. A re-created agent's log goes on after the last
        sequence, so that cursors stay valid; only that number remains, under a hash of the name.
        """
        raise self._unsupported(Capability.AGENTS)

    async def health(self) -> Health:
        """The storage's condition; an absent server gives ``ok=False`` instead of an error."""
        return Health(ok=True, backend=type(self).__name__)

    def verify(self) -> AsyncIterator[Damage]:
        """Read everything of the namespace and report what is not as it was written (VERIFY)."""
        raise self._unsupported(Capability.VERIFY)

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        """Take over records of another store with their sequences and versions, all or nothing (IMPORT).

        For copying, not for everyday use: sequences must come after the agent's head, except for records
        that are already there unchanged, which are passed over; documents replace what is there.
        Raises ``DuplicateIdError`` when a sequence or id is taken by something else.
        """
        raise self._unsupported(Capability.IMPORT)

    async def import_system_state(self, document: Document) -> None:
        """Take over one document of system state with its version (IMPORT)."""
        raise self._unsupported(Capability.IMPORT)
