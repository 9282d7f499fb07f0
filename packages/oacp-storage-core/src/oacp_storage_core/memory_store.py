"""The rules of the contract over what ``MemoryStorage`` keeps, as plain synchronous code.

Arguments have been checked before they come here. Each method runs while ``LOCK`` is held and judges everything
before it writes anything: so it happens wholly or not at all, and nobody sees half of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from oacp_storage_core.arguments import NewDocument, NewInteraction, RetentionPick
from oacp_storage_core.errors import CorruptDataError, DuplicateIdError
from oacp_storage_core.memory_records import Documents, Log, StoredInteraction
from oacp_storage_core.payload import same_payload
from oacp_storage_core.records import Damage, DataKind, Deletion, Turn
from oacp_storage_core.times import now_us

LOCK = threading.Lock()
"""Held by every operation on any store: instances on different event loops may share one."""

if hasattr(os, "register_at_fork"):  # a child inherits neither half a write nor a lock that nobody releases
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


class Agent:
    """Everything that is kept of one agent."""

    def __init__(self, agent_id: str, head: int) -> None:
        self.log = Log(agent_id, head)
        self.state = Documents("agent_state", agent_id)
        self.learning = Documents("learning_data", agent_id)


class Bell:
    """Wakes one task that waits for interactions of an agent."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """May be called from any thread; nothing happens when the loop has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self) -> None:
        """Until it rings."""
        await self._rung.wait()


class Namespace:
    """The data of one namespace. Agents are listed from their first write until they are deleted."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.system = Documents("system_state")
        self.bells: dict[Bell, str] = {}
        self._heads_left: dict[bytes, int] = {}  # of deleted agents, under a hash of the name

    def look(self, agent_id: str) -> Agent:
        """The agent for reading; an empty one when it is not listed."""
        return self.agents.get(agent_id) or Agent(agent_id, self._heads_left.get(_hash(agent_id), 0))

    def documents(self, kind: DataKind, agent_id: str | None) -> Documents:
        """The documents of that kind for reading; ``agent_id`` is None for system state only."""
        if agent_id is None:
            return self.system
        agent = self.look(agent_id)
        return agent.state if kind == "agent_state" else agent.learning

    # --- interactions -------------------------------------------------------------------------------------

    def append(self, agent_id: str, new: Sequence[NewInteraction]) -> None:
        """Append those that are not there yet; ``DuplicateIdError`` when an id has another payload."""
        log = self.look(agent_id).log
        fresh: dict[str, NewInteraction] = {}
        for one in new:
            known = log.by_id.get(one.id) or fresh.setdefault(one.id, one)
            if not same_payload(one.body, known.body):
                raise _duplicate(agent_id, one.id, "is the id of an interaction with another payload")
        if fresh:
            log = self._enter(agent_id).log
            for one in fresh.values():
                log.append(one)
            self.ring(agent_id)

    def trim(self, agent_ids: Iterable[str], pick: RetentionPick, dry_run: bool) -> int:
        """Remove what fulfils every criterion, and return how many; with ``dry_run`` only count."""
        count = 0
        for agent_id in agent_ids:
            log = self.look(agent_id).log
            candidates = log.records
            if pick.keep_last is not None:
                candidates = candidates[: max(0, len(candidates) - pick.keep_last)]
            if pick.before_us is not None:
                candidates = [record for record in candidates if record.at_us < pick.before_us]
            if pick.ids is not None:
                ids = set(pick.ids)
                candidates = [record for record in candidates if record.id in ids]
            count += len(candidates)
            if candidates and not dry_run:
                log.remove(candidates)
        return count

    # --- documents ----------------------------------------------------------------------------------------

    def put(self, kind: DataKind, agent_id: str | None, key: str, body: bytes, expected: int | None) -> int:
        """Replace a document at the expected version, and return its new version."""
        self.documents(kind, agent_id).expect(key, expected)
        if agent_id is not None:
            self._enter(agent_id)
        documents = self.documents(kind, agent_id)
        version = documents.version(key) + 1
        documents.write(key, body, version, now_us())
        return version

    def delete(self, kind: DataKind, agent_id: str | None, key: str, expected: int | None) -> bool:
        """Delete a document at the expected version; whether there was one."""
        documents = self.documents(kind, agent_id)
        documents.expect(key, expected)
        return documents.stored.pop(key, None) is not None

    # --- turns, agents, upkeep ----------------------------------------------------------------------------

    def record_turn(
        self,
        agent_id: str,
        new: Sequence[NewInteraction],
        state: bytes | None,
        expected_version: int | None,
        learning: Mapping[str, bytes],
    ) -> Turn:
        """Everything or nothing; a turn that is there already is returned as it was found."""
        agent = self.look(agent_id)
        records = [agent.log.by_id[one.id] for one in new if one.id in agent.log.by_id]
        replayed = bool(records)
        if replayed:
            _check_replay(agent_id, new, records)
        else:
            _check_ids_differ(agent_id, new)
            if state is not None:
                agent.state.expect("", expected_version)
            if new or state is not None or learning:
                agent = self._enter(agent_id)
            records = [agent.log.append(one) for one in new]
            if state is not None:
                self.put("agent_state", agent_id, "", state, None)
            for key, body in learning.items():
                self.put("learning_data", agent_id, key, body, None)
            self.ring(agent_id)
        documents = ((key, agent.learning.read(key)) for key in learning)
        return Turn(
            tuple(agent.log.read(record) for record in records),
            None if state is None else agent.state.read(""),
            {key: document for key, document in documents if document is not None},
            replayed,
        )

    def erase(self, agent_id: str) -> Deletion:
        """Remove everything of the agent but its last sequence, and count it."""
        agent = self.look(agent_id)
        if self.agents.pop(agent_id, None) is not None:
            self._heads_left[_hash(agent_id)] = agent.log.head
        return Deletion(agent_id, len(agent.log.records), len(agent.state.stored), len(agent.learning.stored))

    def take_over(
        self,
        agent_id: str,
        new: Sequence[NewInteraction],
        state: NewDocument | None,
        learning: Sequence[NewDocument],
    ) -> None:
        """Import records with their sequences and versions; those that are there unchanged are passed over."""
        log = self.look(agent_id).log
        head = log.head
        fresh: dict[str, NewInteraction] = {}
        for one in new:
            known = log.by_id.get(one.id) or fresh.get(one.id)
            if known is not None:
                if known.sequence != one.sequence or not same_payload(known.body, one.body):
                    raise _duplicate(agent_id, one.id, f"is the id of another interaction ({known.sequence})")
            elif one.sequence <= head:
                raise _duplicate(
                    agent_id, one.id, f"cannot get the sequence {one.sequence}: the log has got to {head}"
                )
            else:
                head = one.sequence
                fresh[one.id] = one
        if fresh or state is not None or learning:
            agent = self._enter(agent_id)
            for one in fresh.values():
                agent.log.append(one)
            if state is not None:
                agent.state.write("", state.body, state.version, state.at_us)
            for document in learning:
                agent.learning.write(document.key, document.body, document.version, document.at_us)
            self.ring(agent_id)

    def damages(self) -> Iterator[Damage]:
        """Reads everything, and yields what is not as it was written."""
        for agent_id in sorted(self.agents):
            agent = self.agents[agent_id]
            for record in agent.log.records:
                try:
                    agent.log.read(record)
                except CorruptDataError as exc:
                    yield Damage("interaction", str(exc), agent_id=agent_id, sequence=record.sequence)
            yield from _damaged(agent.state)
            yield from _damaged(agent.learning)
        yield from _damaged(self.system)

    def ring(self, agent_id: str | None) -> None:
        """Wake those who watch the agent, or (None) everybody who watches."""
        for bell, watched in self.bells.items():
            if agent_id is None or agent_id == watched:
                bell.ring()

    def _enter(self, agent_id: str) -> Agent:
        """The agent for writing, which lists it."""
        agent = self.agents[agent_id] = self.look(agent_id)
        return agent


def names_in_order(names: Iterable[str], prefix: str, after: str | None, limit: int) -> list[str]:
    """What the list methods return of these names: in code-point order, ``after`` exclusive."""
    matching = (name for name in names if name.startswith(prefix) and (after is None or name > after))
    return sorted(matching)[:limit]


def _check_replay(agent_id: str, new: Sequence[NewInteraction], found: Sequence[StoredInteraction]) -> None:
    """A turn of which anything exists must exist as a whole, with the same payloads."""
    if len(found) < len(new):
        raise _duplicate(agent_id, found[0].id, "exists already, but other interactions of the turn do not")
    for one, record in zip(new, found, strict=True):
        if not same_payload(one.body, record.body):
            raise _duplicate(agent_id, one.id, "is the id of an interaction with another payload")


def _check_ids_differ(agent_id: str, new: Sequence[NewInteraction]) -> None:
    ids: set[str] = set()
    for one in new:
        if one.id in ids:
            raise _duplicate(agent_id, one.id, "is given to two interactions of the turn")
        ids.add(one.id)


def _duplicate(agent_id: str, interaction_id: str, why: str) -> DuplicateIdError:
    return DuplicateIdError(
        f"agent {agent_id!r}: {interaction_id!r} {why}; nothing was written: give a new interaction an id of its own"
    )


def _damaged(documents: Documents) -> Iterator[Damage]:
    for key in sorted(documents.stored):
        try:
            documents.read(key)
        except CorruptDataError as exc:
            key_shown = None if documents.kind == "agent_state" else key
            yield Damage(documents.kind, str(exc), agent_id=documents.agent_id, key=key_shown)


def _hash(agent_id: str) -> bytes:
    return hashlib.sha256(agent_id.encode()).digest()
