"""``SyncStorage``: the same methods without ``await``, for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from oacp_storage_core.adapter import adapt
from oacp_storage_core.backend import StorageBackend
from oacp_storage_core.background_loop import background_loop
from oacp_storage_core.capability import Capability
from oacp_storage_core.records import Damage, Deletion, Document, Health, Interaction, Turn
from oacp_storage_core.storage import Change, Storage, Where
from oacp_storage_core.sync_iterators import StreamIterator, WatchIterator

if TYPE_CHECKING:
    from oacp_storage_core.sources import Source

_T = TypeVar("_T")


class SyncStorage:
    """A storage whose methods return when they are done. Any number of threads may use it.

    ``SyncStorage(source, **options)`` takes what ``open_storage`` takes, nothing at all included, or a storage
    that exists already. It opens at the first use and is used with ``with``, or ended with ``close()``, which
    closes the storage. All methods are those of ``Storage``, with the same arguments, results and errors;
    streams are plain iterators, which read a little ahead.

    **Where it runs.** In one event loop in a background thread that all share; so a storage that is wrapped must
    not be used from an event loop of one's own at the same time, and ``change`` functions run in that thread.

    **Interruption.** Ctrl-C while a call is waiting cancels it: it has happened wholly or not at all.

    **End of the process.** Nothing waits for the background thread. What was acknowledged is kept.
    """

    def __init__(self, source: Source | StorageBackend | None = None, **options: Any) -> None:
        self._storage = _storage_of(source, options)

    @property
    def storage(self) -> Storage:
        """The storage whose methods are called."""
        return self._storage

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the storage can do; final once it is open."""
        return self._storage.capabilities

    def open(self) -> None:
        """Connect now instead of at the first use."""
        _wait_for(self._storage.open())

    def close(self) -> None:
        """Close the storage; may be called again."""
        _wait_for(self._storage.close())

    def missing_store(self) -> str | None:
        """Where the store would be made if there is none yet; else None. Nothing is opened or made."""
        return _wait_for(self._storage.missing_store())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- interactions -------------------------------------------------------------------------------------

    def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        """Append to the agent's log and return the id."""
        return _wait_for(
            self._storage.store_interaction(
                agent_id, interaction, interaction_id=interaction_id, timestamp=timestamp
            )
        )

    def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        """Append all or nothing, and return the ids in order."""
        return _wait_for(self._storage.store_interactions(agent_id, interactions))

    def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The payloads of the newest ``limit`` interactions, oldest first."""
        return _wait_for(self._storage.get_interactions(agent_id, limit))

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
    ) -> Iterator[Interaction]:
        """Iterate over the agent's log up to the head seen at the first step."""
        return StreamIterator(
            self._storage.iter_interactions(
                agent_id,
                after=after,
                before=before,
                since=since,
                until=until,
                where=where,
                reverse=reverse,
                limit=limit,
            )
        )

    def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        """The interaction of that id, or None."""
        return _wait_for(self._storage.get_interaction(agent_id, interaction_id))

    def count_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
    ) -> int:
        """How many interactions ``iter_interactions`` would yield."""
        return _wait_for(
            self._storage.count_interactions(
                agent_id, after=after, before=before, since=since, until=until, where=where
            )
        )

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> WatchIterator:
        """Everything after ``after``, then live; its ``wait(timeout)`` waits for a limited time."""
        return WatchIterator(self._storage.watch_interactions(agent_id, after=after))

    def delete_interactions(
        self,
        agent_id: str | None = None,
        *,
        ids: Iterable[str] | None = None,
        before: datetime | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete what fulfils every criterion, and return how many."""
        return _wait_for(
            self._storage.delete_interactions(
                agent_id, ids=ids, before=before, keep_last=keep_last, dry_run=dry_run
            )
        )

    # --- agent state --------------------------------------------------------------------------------------

    def store_agent_state(
        self, agent_id: str, state: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace the agent's state and return its new version."""
        return _wait_for(self._storage.store_agent_state(agent_id, state, expected_version=expected_version))

    def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        """The agent's state, or None."""
        return _wait_for(self._storage.get_agent_state(agent_id))

    def get_agent_state_document(self, agent_id: str) -> Document | None:
        """The agent's state with version and time, or None."""
        return _wait_for(self._storage.get_agent_state_document(agent_id))

    def update_agent_state(self, agent_id: str, change: Change) -> Document | None:
        """Read, ``change``, compare-and-set, and again on conflict."""
        return _wait_for(self._storage.update_agent_state(agent_id, change))

    def delete_agent_state(self, agent_id: str, *, expected_version: int | None = None) -> bool:
        """Delete the agent's state; whether there was one."""
        return _wait_for(self._storage.delete_agent_state(agent_id, expected_version=expected_version))

    # --- learning data ------------------------------------------------------------------------------------

    def store_learning_data(
        self, agent_id: str, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace what the agent learned under ``key`` and return its new version."""
        return _wait_for(
            self._storage.store_learning_data(agent_id, key, data, expected_version=expected_version)
        )

    def get_learning_data(self, agent_id: str, key: str) -> dict[str, Any] | None:
        """The data under ``key``, or None."""
        return _wait_for(self._storage.get_learning_data(agent_id, key))

    def get_learning_data_document(self, agent_id: str, key: str) -> Document | None:
        """The data under ``key`` with version and time, or None."""
        return _wait_for(self._storage.get_learning_data_document(agent_id, key))

    def update_learning_data(self, agent_id: str, key: str, change: Change) -> Document | None:
        """As ``update_agent_state``, for one key."""
        return _wait_for(self._storage.update_learning_data(agent_id, key, change))

    def delete_learning_data(self, agent_id: str, key: str, *, expected_version: int | None = None) -> bool:
        """Delete the data under ``key``; whether there was any."""
        return _wait_for(self._storage.delete_learning_data(agent_id, key, expected_version=expected_version))

    def list_learning_data(
        self, agent_id: str, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """Documents by key in code-point order, keys greater than ``after`` only."""
        return _wait_for(self._storage.list_learning_data(agent_id, prefix=prefix, after=after, limit=limit))

    # --- system state -------------------------------------------------------------------------------------

    def store_system_state(
        self, key: str, data: dict[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Replace the system state under ``key`` and return its new version."""
        return _wait_for(self._storage.store_system_state(key, data, expected_version=expected_version))

    def get_system_state(self, key: str) -> dict[str, Any] | None:
        """The system state under ``key``, or None."""
        return _wait_for(self._storage.get_system_state(key))

    def get_system_state_document(self, key: str) -> Document | None:
        """The system state under ``key`` with version and time, or None."""
        return _wait_for(self._storage.get_system_state_document(key))

    def update_system_state(self, key: str, change: Change) -> Document | None:
        """As ``update_agent_state``, for one key of system state."""
        return _wait_for(self._storage.update_system_state(key, change))

    def delete_system_state(self, key: str, *, expected_version: int | None = None) -> bool:
        """Delete the system state under ``key``; whether there was any."""
        return _wait_for(self._storage.delete_system_state(key, expected_version=expected_version))

    def list_system_state(
        self, *, prefix: str = "", after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """System state by key in code-point order, keys greater than ``after`` only."""
        return _wait_for(self._storage.list_system_state(prefix=prefix, after=after, limit=limit))

    # --- turns, agents, upkeep ----------------------------------------------------------------------------

    def record_turn(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Mapping[str, Any] | Interaction] = (),
        state: dict[str, Any] | None = None,
        expected_version: int | None = None,
        learning: Mapping[str, dict[str, Any]] | None = None,
    ) -> Turn:
        """What an agent did in one turn and the state it ended in, together or not at all."""
        return _wait_for(
            self._storage.record_turn(
                agent_id,
                interactions=interactions,
                state=state,
                expected_version=expected_version,
                learning=learning,
            )
        )

    def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        """Agent ids in code-point order."""
        return _wait_for(self._storage.list_agents(prefix=prefix, after=after, limit=limit))

    def delete_agent(self, agent_id: str) -> Deletion:
        """Delete everything of the agent and count it."""
        return _wait_for(self._storage.delete_agent(agent_id))

    def health(self) -> Health:
        """The storage's condition."""
        return _wait_for(self._storage.health())

    def verify(self) -> Iterator[Damage]:
        """Read everything of the namespace and report what is not as it was written."""
        return StreamIterator(self._storage.verify())

    def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        """Take over records of another store with their sequences and versions."""
        _wait_for(
            self._storage.import_records(agent_id, interactions=interactions, state=state, learning=learning)
        )

    def import_system_state(self, document: Document) -> None:
        """Take over one document of system state with its version."""
        _wait_for(self._storage.import_system_state(document))


def _wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
    return background_loop().call(coroutine)


def _storage_of(source: Source | StorageBackend | None, options: dict[str, Any]) -> Storage:
    if isinstance(source, StorageBackend):
        if options:
            raise TypeError(f"a storage that exists takes no options: {', '.join(sorted(options))}")
        return adapt(source)
    from oacp_storage_core.config import create_storage

    return create_storage(source, **options)
