"""The process that the demo kills: ``python -m oacp_storage.demo.worker URL``. It runs the team over one storage.

For every turn it prints the message as a line of JSON once the storage has acknowledged it, and not before.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import App, Parameter

from oacp_storage.agent_system import Agent, AgentSystem, Contribution, Message
from oacp_storage.demo.library import QUESTIONS
from oacp_storage.demo.team import make_team
from oacp_storage_core import open_storage

app = App(name="oacp_storage.demo.worker")


class _Thoughtful:
    """An agent that takes its time, as one that asks a model does."""

    def __init__(self, agent: Agent, seconds: float) -> None:
        self.name = agent.name
        self._agent = agent
        self._seconds = seconds

    async def act(self, task: dict[str, Any], said: Sequence[Message], memory: Any) -> Contribution | None:
        contribution = await self._agent.act(task, said, memory)
        if contribution is not None:
            await asyncio.sleep(self._seconds)
        return contribution


@app.default
def work(
    url: str,
    *,
    think: Annotated[float, Parameter(help="Seconds that an agent takes for a turn.")] = 0.0,
    hold_after: Annotated[int | None, Parameter(help="Wait after that many turns until stdin ends.")] = None,
) -> None:
    """Answer the questions, from where an earlier process left off."""
    asyncio.run(_work(url, think, hold_after))


async def _work(url: str, think: float, hold_after: int | None) -> None:
    async with open_storage(url) as storage:
        tasks = await storage.get_system_state("tasks")
        if tasks is None:
            tasks = {"questions": QUESTIONS}
            await storage.store_system_state("tasks", tasks)
        system = AgentSystem(agents=[_Thoughtful(agent, think) for agent in make_team()], storage=storage)
        turns = 0
        async for message in system.run([{"question": question} for question in tasks["questions"]]):
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()
            turns += 1
            if turns == hold_after:
                # However slowly the machine kills, the work is not finished before it does.
                await asyncio.to_thread(sys.stdin.read)
                return


if __name__ == "__main__":
    app()
