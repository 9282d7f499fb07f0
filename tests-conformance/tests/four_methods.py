"""A backend with only the four methods, as in the seed: correct, in memory, shared by name."""

from __future__ import annotations

from typing import Any, ClassVar

from oacp_storage_core import StorageBackend


class FourMethods(StorageBackend):
    """Keeps what it is given in the dictionaries it is given, so that instances can share them."""

    durable: ClassVar[bool] = False
    multiprocess: ClassVar[bool] = False

    def __init__(self, logs: dict[str, list[Any]], states: dict[str, Any]) -> None:
        self.logs = logs
        self.states = states

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        log = self.logs.setdefault(agent_id, [])
        log.append(_copy(interaction))
        return str(len(log))

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        return [_copy(one) for one in self.logs.get(agent_id, [])[-limit:]]

    async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> None:
        self.states[agent_id] = _copy(state)

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        state = self.states.get(agent_id)
        return None if state is None else _copy(state)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value
