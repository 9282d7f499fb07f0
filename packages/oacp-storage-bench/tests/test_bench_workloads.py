"""Each workload, run for a moment: what it says it did is what the store has."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from bench_samples import TINY
from oacp_storage_bench.command import bench
from oacp_storage_bench.place import Target
from oacp_storage_bench.startup import STARTING
from oacp_storage_bench.subject import Subject, subject
from oacp_storage_bench.traffic import Traffic
from oacp_storage_bench.workloads import WORKLOADS
from oacp_storage_bench.workloads.turns import INTERACTIONS
from oacp_storage_core import Storage

TRAFFIC = Traffic("made up", [(f"agent {n % 7}", {"n": n, "text": "caf\u00e9"}) for n in range(300)], 9_000)
SECONDS = 0.02


@asynccontextmanager
async def opened(source, directory):
    target = Target(source, directory)
    try:
        async with subject(target, source, TINY, frozenset({"raw"}), TRAFFIC) as made:
            yield made
    finally:
        target.remove()


async def stored(storage: Storage) -> int:
    """All interactions of all agents."""
    return sum([await storage.count_interactions(agent) for agent in await storage.list_agents(limit=10_000)])


async def measured(made: Subject, name: str) -> dict[str, int]:
    """Measure every cell of the workload twice; operations by key."""
    counts = {}
    for cell in await WORKLOADS[name](made):
        samples = [await cell.measure(SECONDS), await cell.measure(SECONDS)]
        assert all(sample.value > 0 or cell.row.unit != "a second" for sample in samples)
        counts[cell.row.key] = sum(sample.operations for sample in samples)
        assert counts[cell.row.key] > 0
    return counts


def ours(counts: dict[str, int]) -> int:
    return sum(count for key, count in counts.items() if not key.startswith("raw."))


def raw(counts: dict[str, int], slug: str) -> int:
    return sum(count for key, count in counts.items() if key.startswith(f"raw.{slug}."))


@pytest.mark.asyncio
@pytest.mark.parametrize("source", ["file", "sqlite"])
@pytest.mark.parametrize("name", ["appends", "sizes", "batches", "replay"])
async def test_appending_workloads_store_what_they_count(source, name, tmp_path):
    async with opened(source, tmp_path) as made:
        counts = await measured(made, name)
        assert await stored(made.storage) == ours(counts)
        for one in made.raws:
            assert await one.count() == raw(counts, one.slug)


@pytest.mark.asyncio
async def test_histories_are_as_long_as_they_are_called(tmp_path):
    async with opened("sqlite", tmp_path) as made:
        cells = {cell.row.key: cell for cell in await WORKLOADS["histories"](made)}
        assert set(cells) == {
            "raw.sqlite3.last100",
            "last100.1000",
            "append.history.0",
            "append.history.1000",
        }
        agent = made.target.agent("history-1000")
        assert await made.storage.count_interactions(agent) == 1_000
        assert len(await made.raws[0].last(made.target.agent("history"), 2_000)) == 1_000
        assert (await cells["last100.1000"].measure(SECONDS)).operations > 0
        appended = (await cells["append.history.1000"].measure(SECONDS)).operations
        assert await made.storage.count_interactions(agent) == 1_000 + appended
        assert await made.storage.count_interactions(made.target.agent("history-0")) == 0


@pytest.mark.asyncio
async def test_documents_have_the_versions_that_were_counted(tmp_path):
    async with opened("sqlite", tmp_path) as made:
        counts = await measured(made, "documents")
        assert await stored(made.storage) == 0
        agents = await made.storage.list_agents(limit=1_000)
        documents = [await made.storage.get_agent_state_document(agent) for agent in agents]
        versions = [document.version for document in documents if document is not None]
        writes = sum(count for key, count in counts.items() if key.startswith(("state.put", "state.cas")))
        assert sum(versions) == writes + 64  # and the first put of each agent
        assert counts["raw.sqlite3.get"]
        assert counts["state.get.64"]


@pytest.mark.asyncio
async def test_turns_keep_interactions_and_states(tmp_path):
    async with opened("sqlite", tmp_path) as made:
        counts = await measured(made, "turns")
        assert await stored(made.storage) == counts["turn"] * INTERACTIONS + counts["turn.same_bytes"]
        documents = [await made.storage.get_agent_state_document(agent) for agent in made.agents]
        assert sum(document.version for document in documents if document) == counts["turn"]


@pytest.mark.asyncio
async def test_watching_sees_all_that_is_appended(tmp_path):
    async with opened("sqlite", tmp_path) as made:
        (cell,) = await WORKLOADS["watching"](made)
        sample = await cell.measure(SECONDS)
        assert sample.operations == TINY.watched
        assert sample.p50 is not None
        assert sample.p99 is not None
        assert 0 <= sample.p50 <= sample.p99 < 60_000
        assert await stored(made.storage) == TINY.watched + 1


@pytest.mark.asyncio
async def test_memory_is_that_of_the_whole_history(tmp_path):
    async with opened("sqlite", tmp_path) as made:
        await WORKLOADS["histories"](made)
        batch, stream = await WORKLOADS["memory"](made)
        assert (await stream.measure(SECONDS)).operations == TINY.streamed
        sample = await batch.measure(SECONDS)
        assert sample.operations == TINY.batch
        assert 0 <= sample.value < 200


@pytest.mark.asyncio
async def test_processes_append_together(tmp_path):
    async with opened("file", tmp_path) as made:
        _, two = await WORKLOADS["processes"](made)
        sample = await two.measure(SECONDS)
        assert sample.slowest is not None
        assert 0 < sample.slowest <= 1
        assert await stored(made.storage) > sample.operations > 0  # the first appends of each are not counted


@pytest.mark.asyncio
async def test_what_a_storage_cannot_do_is_not_measured(tmp_path):
    async with opened("memory", tmp_path) as made:
        for name in ("watching", "processes", "memory"):
            assert await WORKLOADS[name](made) == []
        assert made.notes
        assert made.raws == []


def test_the_help_names_every_workload():
    assert bench.__doc__ is not None
    for name in (*WORKLOADS, STARTING):
        assert name in bench.__doc__
