"""The calls that the simulation makes, and what is remembered of each."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from memory_engine import FakeStorage
from oacp_storage_core import Interaction

Payload = dict[str, Any]


@dataclass(eq=False)
class Operation:
    """One call of one storage: what was asked, and how it ended. Times are ticks of the truth's clock."""

    number: int
    name: str
    storage: FakeStorage
    slot: tuple[str | None, str]
    arguments: dict[str, Any] = field(default_factory=dict)
    began: int = 0
    ended: int | None = None
    seconds: float = 0.0
    sent: bool = False
    task: str = ""
    lost: bool = False
    result: Any = None
    error: BaseException | None = None

    @property
    def acknowledged(self) -> bool:
        return self.ended is not None and self.error is None

    def __repr__(self) -> str:
        ended = f"{self.result!r}" if self.acknowledged else f"{self.error!r}" if self.ended else "no end"
        return f"#{self.number} {self.name}{self.slot} {self.arguments} [{self.began}..{self.ended}] {ended}"


class Calls:
    """The calls, by name. Each payload has a key ``k`` of its own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def draw(self, agents: list[str]) -> tuple[str, tuple[str | None, str]]:
        """A name of a call, and the agent and key that it is for."""
        name = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        agent = self._rng.choice(agents)
        if name not in _OF_DOCUMENTS:
            return name, (agent, "")
        key = self._rng.choice(["k", "l"])
        return name, self._rng.choice([(agent, ""), (agent, key), (None, key)])

    def payload(self, key: str, **more: Any) -> Payload:
        poison = {"poison": True} if self._rng.random() < 0.02 else {}
        return {"k": key, **more, **poison}

    async def append(self, op: Operation) -> Any:
        agent = op.slot[0] or ""
        payload = op.arguments["payload"] = self.payload(f"{op.number}")
        return await op.storage.store_interaction(agent, payload)

    async def append_given(self, op: Operation) -> Any:
        agent = op.slot[0] or ""
        name = f"id-{self._rng.randrange(6)}"
        payload = {"k": name} if self._rng.random() < 0.9 else {"k": f"{name}-other"}
        op.arguments |= {"id": name, "payload": payload}
        return await op.storage.store_interaction(agent, payload, interaction_id=name)

    async def batch(self, op: Operation) -> Any:
        agent = op.slot[0] or ""
        payloads = [self.payload(f"{op.number}.{i}") for i in range(self._rng.randint(2, 4))]
        op.arguments["payloads"] = payloads
        return await op.storage.store_interactions(agent, payloads)

    async def turn(self, op: Operation) -> Any:
        agent, ids = op.slot[0] or "", op.arguments["ids"]
        records = [Interaction(agent, one, 0, datetime.now(UTC), {"k": one}) for one in ids]
        state = {"k": f"{op.number}", "n": 0}
        op.arguments["state"] = state
        return await op.storage.record_turn(agent, interactions=records, state=state, learning={"t": state})

    async def put(self, op: Operation) -> Any:
        payload = op.arguments["payload"] = self.payload(f"{op.number}", n=0)
        expected = op.arguments["expected"] = self._rng.choice([None, None, 0, 1, 2, 3])
        return await _method(op, "store")(payload, expected_version=expected)

    async def remove(self, op: Operation) -> Any:
        expected = op.arguments["expected"] = self._rng.choice([None, 1, 2])
        return await _method(op, "delete")(expected_version=expected)

    async def update(self, op: Operation) -> Any:
        async def change(data: Payload | None) -> Payload | None:
            if self._rng.random() < 0.5:
                await asyncio.sleep(self._rng.random() * 0.01)
            data = data or {"n": 0}
            data["n"] += 1  # in place, as users do
            data["k"] = f"{op.number}"
            data.pop("poison", None)
            return data

        return await _method(op, "update")(change)

    async def get(self, op: Operation) -> Any:
        return await _method(op, "get", "_document")()

    async def newest(self, op: Operation) -> Any:
        limit = op.arguments["limit"] = self._rng.choice([1, 5, 1000])
        return await op.storage.get_interactions(op.slot[0] or "", limit)

    async def log(self, op: Operation) -> Any:
        return [one async for one in op.storage.iter_interactions(op.slot[0] or "")]

    async def count(self, op: Operation) -> Any:
        return await op.storage.count_interactions(op.slot[0] or "")

    async def list_agents(self, op: Operation) -> Any:
        return await op.storage.list_agents()

    async def trim(self, op: Operation) -> Any:
        keep = op.arguments["keep"] = self._rng.randint(0, 10)
        return await op.storage.delete_interactions(op.slot[0] or "", keep_last=keep)

    async def erase(self, op: Operation) -> Any:
        return await op.storage.delete_agent(op.slot[0] or "")

    async def health(self, op: Operation) -> Any:
        return await op.storage.health()

    async def verify(self, op: Operation) -> Any:
        return [damage async for damage in op.storage.verify()]


_WEIGHTS = {
    "append": 30,
    "append_given": 12,
    "batch": 8,
    "turn": 8,
    "put": 10,
    "remove": 3,
    "update": 8,
    "get": 6,
    "newest": 6,
    "count": 2,
    "list_agents": 1,
    "trim": 2,
    "erase": 1.5,
    "health": 1,
    "verify": 0.5,
}
_OF_DOCUMENTS = {"put", "remove", "update", "get"}


def _method(op: Operation, verb: str, suffix: str = "") -> Callable[..., Awaitable[Any]]:
    """The method of the operation's kind of document, with agent and key given."""
    agent, key = op.slot
    kind = "system_state" if agent is None else "learning_data" if key else "agent_state"
    method = getattr(op.storage, f"{verb}_{kind}{suffix}")
    names = [name for name in (agent, key) if name]
    return lambda *arguments, **options: method(*names, *arguments, **options)
