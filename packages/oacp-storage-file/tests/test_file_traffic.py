"""Real agent traffic, through the store and back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from file_world import World, append
from oacp_storage_engine import Applied, Unit
from oacp_storage_file import FileStorage

TRAFFIC = Path(__file__).parents[3].parent / "shared" / "data" / "interactions.jsonl.gz"

needs_traffic = pytest.mark.skipif(not TRAFFIC.exists(), reason=f"the recorded traffic is not at {TRAFFIC}")


def traffic() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Agent, id and payload of every line."""
    with gzip.open(TRAFFIC, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            yield row["agent_id"], f"line-{number}", row["interaction"]


def groups(size: int) -> Iterator[list[Unit]]:
    """The traffic with given ids, as groups of commits."""
    group: list[Unit] = []
    for agent, one, data in traffic():
        group.append(Unit(agent, (append(agent, one, data, given=True),)))
        if len(group) == size:
            yield group
            group = []
    yield group


@needs_traffic
@pytest.mark.asyncio
async def test_all_of_it_comes_back_and_nothing_comes_twice(tmp_path: Path) -> None:
    world = World(tmp_path)
    for group in groups(1000):
        assert all(isinstance(outcome, Applied) and not outcome.existing for outcome in world.commit(*group))
    world.close()
    world = World(tmp_path)
    for group in groups(1000):
        assert all(isinstance(outcome, Applied) and outcome.existing for outcome in world.commit(*group))
    world.close()
    expected: dict[str, list[dict[str, Any]]] = {}
    for agent, _, data in traffic():
        expected.setdefault(agent, []).append(data)
    async with FileStorage(tmp_path) as storage:
        agents: list[str] = []
        while page := await storage.list_agents(after=agents[-1] if agents else None, limit=500):
            agents += page
        assert agents == sorted(expected)
        for agent in agents:
            got = [one.data async for one in storage.iter_interactions(agent)]
            assert json.dumps(got) == json.dumps(expected[agent]), (
                agent
            )  # the order of keys and types of numbers too
