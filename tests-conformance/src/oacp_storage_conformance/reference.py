"""Comparing a storage with ``MemoryStorage``: the same calls on both, and what both answer."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from oacp_storage_conformance.place import Place, collect
from oacp_storage_conformance.strategies import AGENTS, IDS, KEYS, START, Step
from oacp_storage_core import (
    Capability,
    Document,
    DuplicateIdError,
    Interaction,
    MemoryStorage,
    Storage,
    VersionConflictError,
)


class Player:
    """Plays steps on one storage, under names of its own, and tells each answer in a form that can be compared.

    Generated ids and times, which no two stores share, are told as ``"*"``.
    """

    def __init__(
        self, storage: Storage, other: Storage, base: str, declared: AbstractSet[Capability]
    ) -> None:
        self.storage = storage
        self.other = other
        self.base = base
        self.declared = declared

    async def play(self, step: Step) -> Any:
        """The answer of one step; refusals that the contract asks for are answers too."""
        name, arguments, keywords = step
        try:
            return await getattr(self, f"_{name}")(*arguments, **keywords)
        except VersionConflictError as exc:
            return "conflict", exc.expected, exc.actual
        except (DuplicateIdError, ValueError) as exc:
            return type(exc).__name__

    async def everything(self) -> list[Any]:
        """All that is there in the end, as the other instance sees it."""
        has, storage = self.declared.__contains__, self.other
        seen: list[Any] = []
        for agent in AGENTS:
            name = self.base + agent
            seen += [await storage.get_interactions(name, 1000), await storage.get_agent_state(name)]
            if has(Capability.HISTORY):
                seen += [self._record(one) for one in await collect(storage.iter_interactions(name))]
            if has(Capability.VERSIONED_STATE):
                seen.append(self._document(await storage.get_agent_state_document(name)))
            if has(Capability.LEARNING_DATA):
                seen += [self._document(one) for one in await storage.list_learning_data(name)]
        if has(Capability.SYSTEM_STATE):
            seen += [self._document(one) for one in await storage.list_system_state(prefix=self.base)]
        return seen

    async def remove(self) -> None:
        """Remove what the steps left, as far as the storage can."""
        if Capability.AGENTS in self.declared:
            for agent in AGENTS:
                await self.storage.delete_agent(self.base + agent)
        if Capability.SYSTEM_STATE in self.declared:
            for key in KEYS:
                await self.storage.delete_system_state(self.base + key)

    # --- steps --------------------------------------------------------------------------------------------

    async def _other_instance(self) -> None:
        """Go on with the other instance."""
        self.storage, self.other = self.other, self.storage

    async def _append(self, agent: str, payload: Any, ident: str | None = None, at: Any = None) -> Any:
        given = {} if ident is None else {"interaction_id": ident, "timestamp": at}
        return self._id(await self.storage.store_interaction(self.base + agent, payload, **given))

    async def _batch(self, agent: str, records: Any) -> Any:
        name = self.base + agent
        return [
            self._id(one) for one in await self.storage.store_interactions(name, self._records(name, records))
        ]

    async def _turn(self, agent: str, records: Any, state: Any, expected: int | None, learning: Any) -> Any:
        name = self.base + agent
        turn = await self.storage.record_turn(
            name,
            interactions=self._records(name, records),
            state=state,
            expected_version=expected,
            learning=learning,
        )
        learned = {key: self._document(one) for key, one in turn.learning.items()}
        return (
            turn.replayed,
            [self._record(one) for one in turn.interactions],
            self._document(turn.state),
            learned,
        )

    async def _get(self, agent: str, limit: int) -> Any:
        return await self.storage.get_interactions(self.base + agent, limit)

    async def _history(self, agent: str, query: Any) -> Any:
        return [
            self._record(one)
            for one in await collect(self.storage.iter_interactions(self.base + agent, **query))
        ]

    async def _count(self, agent: str, query: Any) -> Any:
        bounds = {key: value for key, value in query.items() if key not in {"limit", "reverse"}}
        return await self.storage.count_interactions(self.base + agent, **bounds)

    async def _find(self, agent: str, ident: str) -> Any:
        found = await self.storage.get_interaction(self.base + agent, ident)
        return None if found is None else self._record(found)

    async def _store_state(self, agent: str, data: Any, expected: int | None = None) -> Any:
        condition = {} if expected is None else {"expected_version": expected}
        version = await self.storage.store_agent_state(self.base + agent, data, **condition)
        return version if Capability.VERSIONED_STATE in self.declared else None

    async def _get_state(self, agent: str) -> Any:
        return await self.storage.get_agent_state(self.base + agent)

    async def _update_state(self, agent: str, data: Any) -> Any:
        return self._document(
            await self.storage.update_agent_state(
                self.base + agent, lambda old: {"old": old, "new": data} if data else None
            )
        )

    async def _delete_state(self, agent: str, expected: int | None) -> Any:
        return await self.storage.delete_agent_state(self.base + agent, expected_version=expected)

    async def _store_learning(self, agent: str, key: str, data: Any, expected: int | None) -> Any:
        return await self.storage.store_learning_data(self.base + agent, key, data, expected_version=expected)

    async def _get_learning(self, agent: str, key: str) -> Any:
        return self._document(await self.storage.get_learning_data_document(self.base + agent, key))

    async def _delete_learning(self, agent: str, key: str, expected: int | None) -> Any:
        return await self.storage.delete_learning_data(self.base + agent, key, expected_version=expected)

    async def _list_learning(self, agent: str, query: Any) -> Any:
        return [
            self._document(one) for one in await self.storage.list_learning_data(self.base + agent, **query)
        ]

    async def _store_system(self, key: str, data: Any, expected: int | None) -> Any:
        return await self.storage.store_system_state(self.base + key, data, expected_version=expected)

    async def _get_system(self, key: str) -> Any:
        return self._document(await self.storage.get_system_state_document(self.base + key))

    async def _delete_system(self, key: str, expected: int | None) -> Any:
        return await self.storage.delete_system_state(self.base + key, expected_version=expected)

    async def _list_system(self, query: Any) -> Any:
        return [self._document(one) for one in await self.storage.list_system_state(**self._listing(query))]

    async def _delete_agent(self, agent: str) -> Any:
        deleted = await self.storage.delete_agent(self.base + agent)
        return deleted.interactions, deleted.states, deleted.learning

    async def _list_agents(self, query: Any) -> Any:
        return [one.removeprefix(self.base) for one in await self.storage.list_agents(**self._listing(query))]

    async def _retain(self, agent: str, criteria: Any, *, dry_run: bool) -> Any:
        return await self.storage.delete_interactions(self.base + agent, **criteria, dry_run=dry_run)

    async def _retain_all(self, criteria: Any, *, dry_run: bool) -> Any:
        return await self.storage.delete_interactions(**criteria, dry_run=dry_run)

    # --- forms --------------------------------------------------------------------------------------------

    def _listing(self, query: dict[str, Any]) -> dict[str, Any]:
        after = query.get("after")
        base = {"prefix": self.base + query["prefix"]}
        return {**query, **base} if after is None else {**query, **base, "after": self.base + after}

    def _records(self, agent: str, records: Sequence[tuple[str | None, Any]]) -> list[Any]:
        return [
            data if ident is None else Interaction(agent, ident, 0, START, data) for ident, data in records
        ]

    def _id(self, ident: str) -> str:
        return ident if ident in IDS else "*"

    def _record(self, one: Interaction) -> Any:
        at = one.timestamp if one.timestamp.year == START.year else "*"
        return one.agent_id.removeprefix(self.base), self._id(one.id), one.sequence, at, one.data

    def _document(self, one: Document | None) -> Any:
        return None if one is None else (one.key.removeprefix(self.base), one.version, one.data)


async def compare(place: Place, script: Sequence[Step], base: str) -> None:
    """Play the script on the storage and on a new ``MemoryStorage``; both must answer alike, step by step."""
    name = f"reference-{base}"
    declared = place.storage.capabilities
    mine = Player(place.storage, await place.second(), base, declared)
    reference = Player(MemoryStorage(name), MemoryStorage(name), base, declared)
    try:
        for number, step in enumerate(script, start=1):
            expected, got = await reference.play(step), await mine.play(step)
            # repr tells 1 from 1.0 and True, -0.0 from 0.0, and the order of keys.
            assert repr(got) == repr(expected), f"step {number}, {step}: MemoryStorage answers otherwise"
        left, right = await mine.everything(), await reference.everything()
        assert repr(left) == repr(right), (
            "in the end another instance sees something else than with MemoryStorage"
        )
    finally:
        await mine.remove()
        MemoryStorage.forget(name)
