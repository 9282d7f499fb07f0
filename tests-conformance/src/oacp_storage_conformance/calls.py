"""One call of every method of the interface, for tests that are about all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oacp_storage_core import Capability, Document, Interaction, Storage

WHEN = datetime(2024, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Call:
    """A call of one method with valid arguments, for an agent and a key.

    ``needs`` are the capabilities it takes; ``subject`` is the first of them, None for the four methods.
    ``names_agent`` and ``names_key``: whether the agent and the key are among its arguments; ``writes``:
    whether it may change the store.
    """

    make: Callable[[Storage, str, str], Awaitable[Any]]
    subject: Capability | None = None
    names_agent: bool = True
    names_key: bool = False
    writes: bool = False

    @property
    def needs(self) -> tuple[Capability, ...]:
        """The capabilities without which the call is refused."""
        return () if self.subject is None else (self.subject,)

    def __call__(self, storage: Storage, agent: str, key: str = "key") -> Awaitable[Any]:
        """Make the call. An iterator is asked for its first item."""
        return self.make(storage, agent, key)


async def _first(records: AsyncIterator[Any]) -> Any:
    try:
        return await anext(records, None)
    finally:
        if (aclose := getattr(records, "aclose", None)) is not None:
            await aclose()


async def _iterate(storage: Storage, agent: str) -> Any:
    return await _first(storage.iter_interactions(agent))


async def _watch(storage: Storage, agent: str) -> Any:
    """The first interaction of the agent; whoever calls this has seen to it that there is one."""
    return await _first(storage.watch_interactions(agent, after=0))


async def _verify(storage: Storage) -> Any:
    return await _first(storage.verify())


FOUR_METHODS: dict[str, Call] = {
    "store_interaction": Call(lambda s, agent, _key: s.store_interaction(agent, {"n": 1}), writes=True),
    "get_interactions": Call(lambda s, agent, _key: s.get_interactions(agent)),
    "store_agent_state": Call(lambda s, agent, _key: s.store_agent_state(agent, {"n": 1}), writes=True),
    "get_agent_state": Call(lambda s, agent, _key: s.get_agent_state(agent)),
}

_C = Capability

FURTHER_METHODS: dict[str, Call] = {
    "store_interaction, interaction_id": Call(
        lambda s, agent, key: s.store_interaction(agent, {"n": 1}, interaction_id=key),
        _C.IDEMPOTENT_APPEND, names_key=True, writes=True,
    ),
    "store_interaction, timestamp": Call(
        lambda s, agent, _key: s.store_interaction(agent, {"n": 1}, timestamp=WHEN), _C.IDEMPOTENT_APPEND, writes=True
    ),
    "store_interactions": Call(
        lambda s, agent, _key: s.store_interactions(agent, [{"n": 1}]), _C.BATCH_APPEND, writes=True
    ),
    "iter_interactions": Call(lambda s, agent, _key: _iterate(s, agent), _C.HISTORY),
    "get_interaction": Call(lambda s, agent, key: s.get_interaction(agent, key), _C.HISTORY, names_key=True),
    "count_interactions": Call(lambda s, agent, _key: s.count_interactions(agent), _C.HISTORY),
    "store_agent_state, expected_version": Call(
        lambda s, agent, _key: s.store_agent_state(agent, {"n": 1}, expected_version=0), _C.VERSIONED_STATE, writes=True
    ),
    "get_agent_state_document": Call(lambda s, agent, _key: s.get_agent_state_document(agent), _C.VERSIONED_STATE),
    "update_agent_state": Call(
        lambda s, agent, _key: s.update_agent_state(agent, lambda _data: {"n": 1}), _C.VERSIONED_STATE, writes=True
    ),
    "delete_agent_state": Call(lambda s, agent, _key: s.delete_agent_state(agent), _C.VERSIONED_STATE, writes=True),
    "store_learning_data": Call(
        lambda s, agent, key: s.store_learning_data(agent, key, {"n": 1}), _C.LEARNING_DATA, names_key=True, writes=True
    ),
    "get_learning_data": Call(lambda s, agent, key: s.get_learning_data(agent, key), _C.LEARNING_DATA, names_key=True),
    "get_learning_data_document": Call(
        lambda s, agent, key: s.get_learning_data_document(agent, key), _C.LEARNING_DATA, names_key=True
    ),
    "update_learning_data": Call(
        lambda s, agent, key: s.update_learning_data(agent, key, lambda _data: {"n": 1}),
        _C.LEARNING_DATA, names_key=True, writes=True,
    ),
    "delete_learning_data": Call(
        lambda s, agent, key: s.delete_learning_data(agent, key), _C.LEARNING_DATA, names_key=True, writes=True
    ),
    "list_learning_data": Call(lambda s, agent, _key: s.list_learning_data(agent), _C.LEARNING_DATA),
    "store_system_state": Call(
        lambda s, _agent, key: s.store_system_state(key, {"n": 1}),
        _C.SYSTEM_STATE, names_agent=False, names_key=True, writes=True,
    ),
    "get_system_state": Call(
        lambda s, _agent, key: s.get_system_state(key), _C.SYSTEM_STATE, names_agent=False, names_key=True
    ),
    "get_system_state_document": Call(
        lambda s, _agent, key: s.get_system_state_document(key), _C.SYSTEM_STATE, names_agent=False, names_key=True
    ),
    "update_system_state": Call(
        lambda s, _agent, key: s.update_system_state(key, lambda _data: {"n": 1}),
        _C.SYSTEM_STATE, names_agent=False, names_key=True, writes=True,
    ),
    "delete_system_state": Call(
        lambda s, _agent, key: s.delete_system_state(key),
        _C.SYSTEM_STATE, names_agent=False, names_key=True, writes=True,
    ),
    "list_system_state": Call(lambda s, _agent, _key: s.list_system_state(), _C.SYSTEM_STATE, names_agent=False),
    "record_turn": Call(
        lambda s, agent, _key: s.record_turn(agent, interactions=[{"n": 1}], state={"n": 1}), _C.TURN, writes=True
    ),
    "list_agents": Call(lambda s, _agent, _key: s.list_agents(), _C.AGENTS, names_agent=False),
    "delete_agent": Call(lambda s, agent, _key: s.delete_agent(agent), _C.AGENTS, writes=True),
    "delete_interactions": Call(
        lambda s, agent, key: s.delete_interactions(agent, ids=[key]), _C.RETENTION, names_key=True, writes=True
    ),
    "watch_interactions": Call(lambda s, agent, _key: _watch(s, agent), _C.WATCH),
    "verify": Call(lambda s, _agent, _key: _verify(s), _C.VERIFY, names_agent=False),
    "import_records": Call(
        lambda s, agent, key: s.import_records(agent, interactions=[Interaction(agent, key, 10**6, WHEN, {"n": 1})]),
        _C.IMPORT, names_key=True, writes=True,
    ),
    "import_system_state": Call(
        lambda s, _agent, key: s.import_system_state(Document(key, {"n": 1}, 7, WHEN)),
        _C.IMPORT, names_agent=False, names_key=True, writes=True,
    ),
}  # fmt: skip

ALL_CALLS: dict[str, Call] = {**FOUR_METHODS, **FURTHER_METHODS}
