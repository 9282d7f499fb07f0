"""``MemoryStorage``: everything in this process, written to be read as the specification of all backends.

The rules stand in ``memory_store.py``; here arguments are checked and the rules applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from oacp_storage_core.arguments import (
    check_call_size,
    check_expected_version,
    check_history,
    check_limit,
    check_list,
    check_payload,
    check_retention,
    new_document,
    new_interaction,
    new_interactions,
)
from oacp_storage_core.capability import ALL_CAPABILITIES, Capability
from oacp_storage_core.errors import StorageConfigError
from oacp_storage_core.memory_documents import MemoryDocuments
from oacp_storage_core.memory_iterators import HistoryIterator, WatchIterator
from oacp_storage_core.memory_lifecycle import give_way
from oacp_storage_core.memory_store import Namespace, names_in_order
from oacp_storage_core.names import check_name, check_namespace
from oacp_storage_core.records import Damage, Deletion, Document, Interaction, Turn
from oacp_storage_core.storage import Where
from oacp_storage_core.typed_constructors import typed_options
from oacp_storage_core.urls import redact_url

_stores: dict[str, dict[str, Namespace]] = {}
"""The named stores of this process: name to namespaces."""


class MemoryStorage(MemoryDocuments):
    """Keeps everything in this process: for tests, examples, and data that may be lost.

    **Options.** Without ``name`` the data belongs to this instance alone. All instances of one ``name`` share
    their data, as connections to one server do, until the process ends or ``MemoryStorage.forget(name)``;
    ``memory://NAME`` is the same as a URL. ``namespace`` separates tenants. ``coerce`` turns what is usually
    meant into JSON (see ``oacp_storage_core.coerce``).

    **Durability.** None. A forked child goes on with a copy of its own.

    **Concurrency.** Each instance belongs to the event loop that uses it; instances of one name may be used from
    different loops and threads. Every call gives other tasks their turn once.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES
    durable: ClassVar[bool] = False
    multiprocess: ClassVar[bool] = False

    @typed_options
    def __init__(self, name: str | None = None, *, namespace: str = "default", coerce: bool = False) -> None:
        if name == "":
            raise StorageConfigError(
                "the name of a memory store is empty; leave it out for a store of one's own"
            )
        store = {} if name is None else _stores.setdefault(name, {})
        super().__init__(store.setdefault(check_namespace(namespace), Namespace()), coerce=coerce)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The storage of ``memory://NAME`` (percent-encoded), or a store of its own for ``memory://``."""
        name, unknown, _ = url.partition("://")[2].partition("?")
        if unknown:
            raise StorageConfigError(
                f"the URL {redact_url(url)} has options that a memory store does not know; it knows coerce and "
                "namespace"
            )
        if not name:
            return cls(**options)
        if "name" in options:
            raise StorageConfigError(
                f"the URL {redact_url(url)} names the store already; leave out the option name"
            )
        return cls(unquote(name), **options)

    @classmethod
    def forget(cls, name: str) -> bool:
        """Drop the named store; whether there was one. Instances that are open keep the data they share."""
        return _stores.pop(name, None) is not None

    # --- interactions -------------------------------------------------------------------------------------

    async def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        """Append to the agent's log and return the id."""
        agent_id = check_name(agent_id)
        new = new_interaction(
            interaction, coerce=self._coerce, interaction_id=interaction_id, timestamp=timestamp
        )
        with self._use() as data:
            data.append(agent_id, [new])
        await give_way()
        return new.id

    async def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        """Append all or nothing, and return the ids in order."""
        agent_id = check_name(agent_id)
        new = new_interactions(agent_id, interactions, coerce=self._coerce)
        with self._use() as data:
            data.append(agent_id, new)
        await give_way()
        return [one.id for one in new]

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The payloads of the newest ``limit`` interactions, oldest first."""
        agent_id, limit = check_name(agent_id), check_limit(limit)
        with self._use() as data:
            log = data.look(agent_id).log
            newest = [log.read(record).data for record in log.records[-limit:]] if limit else []
        await give_way()
        return newest

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
        """Stream the agent's log up to the head at the first step."""
        query = check_history(after, before, since, until, where, reverse, limit)
        return HistoryIterator(self._use, check_name(agent_id), query)

    async def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        """The interaction of that id, or None."""
        agent_id, interaction_id = check_name(agent_id), check_name(interaction_id, "interaction id")
        with self._use() as data:
            log = data.look(agent_id).log
            found = log.by_id.get(interaction_id)
            interaction = None if found is None else log.read(found)
        await give_way()
        return interaction

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
        """How many interactions ``iter_interactions`` would yield."""
        agent_id, query = check_name(agent_id), check_history(after, before, since, until, where)
        with self._use() as data:
            log = data.look(agent_id).log
            records = [log.records[i] for i in log.between(query.after, query.before)]
            if query.filtered:
                records = [r for r in records if query.admits(r.at_us, log.read(r).data)]
        await give_way()
        return len(records)

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        """Everything after sequence ``after``, then live, until ``close()``."""
        after = None if after is None else check_limit(after, "after")
        return WatchIterator(self._use, check_name(agent_id), after)

    async def delete_interactions(
        self,
        agent_id: str | None = None,
        *,
        ids: Iterable[str] | None = None,
        before: datetime | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete what fulfils every criterion, and return how many."""
        agent_id = None if agent_id is None else check_name(agent_id)
        pick = check_retention(agent_id, ids, before, keep_last)
        with self._use() as data:
            count = data.trim(data.agents if agent_id is None else [agent_id], pick, dry_run)
        await give_way()
        return count

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
        """What an agent did in one turn and the state it ended in, together or not at all."""
        agent_id, expected_version = check_name(agent_id), check_expected_version(expected_version)
        if expected_version is not None and state is None:
            raise ValueError("record_turn: expected_version is the version of the state, so it needs state")
        new = new_interactions(agent_id, interactions, coerce=self._coerce)
        state_body = None if state is None else check_payload(state, self._coerce, "$.state")[0]
        learning_bodies = {
            check_name(key, "learning key"): check_payload(value, self._coerce, f"$.learning[{key!r}]")[0]
            for key, value in (learning or {}).items()
        }
        bodies = [*(one.body for one in new), state_body or b"", *learning_bodies.values()]
        check_call_size(sum(map(len, bodies)))
        with self._use() as data:
            turn = data.record_turn(agent_id, new, state_body, expected_version, learning_bodies)
        await give_way()
        return turn

    async def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        """Agent ids in code-point order, from each agent's first write until ``delete_agent``."""
        prefix, after, limit = check_list(prefix, after, limit)
        with self._use() as data:
            agents = names_in_order(data.agents, prefix, after, limit)
        await give_way()
        return agents

    async def delete_agent(self, agent_id: str) -> Deletion:
        """Delete everything of the agent and count it; its last sequence remains, under a hash of its name."""
        agent_id = check_name(agent_id)
        with self._use() as data:
            deletion = data.erase(agent_id)
        await give_way()
        return deletion

    async def verify(self) -> AsyncIterator[Damage]:
        """Read everything of the namespace and report what is not as it was written."""
        with self._use() as data:
            damages = list(data.damages())
        await give_way()
        for damage in damages:
            yield damage

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        """Take over records of another store with their sequences and versions, all or nothing."""
        agent_id = check_name(agent_id)
        new = new_interactions(agent_id, interactions, coerce=self._coerce, imported=True)
        new_state = None if state is None else new_document(state, coerce=self._coerce, is_state=True)
        new_learning = [new_document(document, coerce=self._coerce) for document in learning]
        documents = new_learning if new_state is None else [new_state, *new_learning]
        check_call_size(sum(len(one.body) for one in new) + sum(len(one.body) for one in documents))
        with self._use() as data:
            data.take_over(agent_id, new, new_state, new_learning)
        await give_way()

    async def import_system_state(self, document: Document) -> None:
        """Take over one document of system state with its version."""
        new = new_document(document, coerce=self._coerce)
        with self._use() as data:
            data.system.write(new.key, new.body, new.version, new.at_us)
        await give_way()
