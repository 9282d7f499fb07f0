"""An agent system: a small host for a team of agents, as an example of how a host uses a storage.

    system = AgentSystem(agents=agents, storage=storage)
    async for message in system.run(tasks):
        print(message)

The agents take turns at one task after another. Each turn is one ``record_turn``: what the agent said, what it
learned, and the state it is in now, together or not at all. A process that dies can therefore be started again
with the same tasks: the states tell where the team was, the logs what was said, and no turn is lost or repeated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from oacp_storage_core import Capability, Interaction, StorageBackend, adapt

Message = dict[str, Any]
"""What was said in one turn, with ``task`` and ``turn`` (numbers from 0) and ``agent``."""


class Contribution(NamedTuple):
    """An agent's part in one turn: what it says, what it has learned by key, and whether the task is done."""

    message: dict[str, Any]
    learned: Mapping[str, dict[str, Any]] = {}
    done: bool = False


class Agent(Protocol):
    """A member of the team."""

    name: str

    async def act(
        self, task: dict[str, Any], said: Sequence[Message], memory: Mapping[str, dict[str, Any]]
    ) -> Contribution | None:
        """The agent's next turn, from what was said about the task and what it has learned; None to pass."""
        ...


class AgentSystem:
    """Runs a team. Any backend will do: one with only the four methods keeps a turn in two steps instead of one,
    so that a crash between them may repeat a turn, and keeps what was learned in the state.
    """

    def __init__(self, *, agents: Sequence[Agent], storage: StorageBackend) -> None:
        self.agents = list(agents)
        self.storage = adapt(storage)

    async def run(self, tasks: Sequence[dict[str, Any]]) -> AsyncGenerator[Message, None]:
        """Work through the tasks, from where the team was; yields each message once it is kept."""
        number, said = await self._resume()
        for current, task in enumerate(tasks[number:], start=number):
            async for message in self._work_on(current, task, said):
                yield message
            said = []

    async def _resume(self) -> tuple[int, list[Message]]:
        """The number of the task to go on with, and what has been said about it, by turn."""
        states = [await self.storage.get_agent_state(agent.name) for agent in self.agents]
        latest = max((state for state in states if state), key=_position, default=None)
        if latest is None:
            return 0, []
        if latest["done"]:
            return latest["task"] + 1, []
        said = {}
        for agent in self.agents:
            for message in await self.storage.get_interactions(agent.name, limit=latest["turn"] + 1):
                if message["task"] == latest["task"]:
                    said[message["turn"]] = message
        return latest["task"], [said[turn] for turn in sorted(said)]

    async def _work_on(
        self, number: int, task: dict[str, Any], said: list[Message]
    ) -> AsyncGenerator[Message, None]:
        """Ask the agents in turn, beginning after the last speaker, until one says that the task is done."""
        names = [agent.name for agent in self.agents]
        place = names.index(said[-1]["agent"]) + 1 if said else 0
        passed = 0
        while passed < len(self.agents):
            agent = self.agents[place % len(self.agents)]
            place += 1
            contribution = await agent.act(task, said, await self._memory(agent.name))
            if contribution is None:
                passed += 1
                continue
            passed = 0
            message = {"task": number, "turn": len(said), "agent": agent.name, **contribution.message}
            await self._keep(message, contribution)
            said.append(message)
            yield message
            if contribution.done:
                return
        raise RuntimeError(f"task {number} is not done, and no agent has anything to say")

    async def _memory(self, name: str) -> Mapping[str, dict[str, Any]]:
        """What the agent has learned, by key."""
        if Capability.LEARNING_DATA in self.storage.capabilities:
            return {one.key: one.data for one in await self.storage.list_learning_data(name)}
        state = await self.storage.get_agent_state(name)
        return state["learned"] if state else {}

    async def _keep(self, message: Message, contribution: Contribution) -> None:
        """Store the turn. Its id is fixed by task and turn: stored twice, it would still be there once."""
        name = message["agent"]
        state = {"task": message["task"], "turn": message["turn"], "done": contribution.done}
        if Capability.TURN in self.storage.capabilities:
            said = Interaction(name, f"{message['task']}/{message['turn']}", 0, datetime.now(UTC), message)
            await self.storage.record_turn(
                name, interactions=[said], state=state, learning=contribution.learned
            )
        else:
            learned = {**await self._memory(name), **contribution.learned}
            await self.storage.store_interaction(name, message)
            await self.storage.store_agent_state(name, {**state, "learned": learned})


def _position(state: dict[str, Any]) -> tuple[int, int]:
    return state["task"], state["turn"]
