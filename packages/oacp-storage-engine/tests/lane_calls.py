"""Calls into one lane of group commit, as a storage makes them."""

import asyncio
from typing import Any

from memory_engine import MemoryEngine
from oacp_storage_engine import Append, Outcome, Unit
from oacp_storage_engine.group_commit import GroupCommit
from scripted_engine import outcome_of
from virtual_loop import START

FAR = START + 1000


def unit(name: str | int, agent: str = "ann") -> Unit:
    return Unit(agent, (Append(f"id-{name}", False, 1, f"{name}".encode(), 0),))


def lane_over(engine: MemoryEngine, **options: Any) -> GroupCommit:
    return GroupCommit(engine, lambda units: None, **options)


async def call(lane: GroupCommit, one: Unit, size: int = 1, deadline: float = FAR) -> Outcome:
    """As a storage does it."""
    if lane.crowded:
        await lane.enter(deadline)
    return await lane.submit(one, size, deadline)


def later(lane: GroupCommit, *arguments: Any) -> asyncio.Task[object]:
    return asyncio.get_running_loop().create_task(outcome_of(call(lane, *arguments)))
