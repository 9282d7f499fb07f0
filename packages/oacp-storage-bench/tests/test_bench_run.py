"""Whole runs: everything is measured, told and removed."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from bench_samples import TINY
from oacp_storage_bench.raw.base import driver
from oacp_storage_bench.raw.file import RawFile
from oacp_storage_bench.run import Plan, run
from oacp_storage_bench.workloads import WORKLOADS
from oacp_storage_conformance.servers import RedisServer
from oacp_storage_core import BackendNotFoundError, StorageConfigError, StorageTimeoutError, open_storage


def plan(directory, *sources, **more):
    given = {"profile": TINY, "against": frozenset({"raw"}), "directory": directory} | more
    return Plan(sources=sources, **given)


@pytest.mark.asyncio
async def test_a_run_of_two_storages(tmp_path):
    said: list[str] = []
    made = await run(
        plan(tmp_path, "file", "sqlite", only=frozenset({"appends", "turns", "starting"})), said.append
    )
    assert [one.label for one in made.storages] == ["file", "sqlite"]
    assert [one.durability for one in made.storages] == ["power-cut", "power-cut"]
    for label, raw in (("file", "raw.file"), ("sqlite", "raw.sqlite3")):
        for key in (
            "append.callers.1",
            "append.callers.64",
            f"{raw}.append.1",
            f"{raw}.append.batch64",
            "turn",
        ):
            found = made.row(label, key)
            assert found is not None, key
            assert len(found.values) == TINY.rounds
            assert found.median > 0
    goals = {(goal.storage, goal.name): goal for goal in made.goals}
    assert goals["sqlite", "64 callers, of commits of 64"].verdict in ("reached", "short")
    assert goals["sqlite", "64 callers, of LangGraph's store"].verdict == "not measured"
    assert made.machine.fsync_ms > 0
    assert goals["starting", "import of core beyond asyncio, ms"].figures
    assert made.versions["oacp-storage-core"]
    assert any("round 2 of 2: sqlite" in line for line in said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_store_with_data_is_left_as_it_was(tmp_path):
    url = f"sqlite:///{tmp_path}/agents.db"
    async with open_storage(url) as storage:
        await storage.store_interaction("alice", {"n": 1})
        await storage.store_agent_state("alice", {"step": 1})
    await run(plan(tmp_path, url, only=frozenset({"appends"})), lambda _: None)
    async with open_storage(url) as storage:
        assert await storage.list_agents() == ["alice"]
        assert await storage.get_interactions("alice") == [{"n": 1}]
        document = await storage.get_agent_state_document("alice")
        assert document is not None
        assert document.version == 1
    with contextlib.closing(sqlite3.connect(tmp_path / "agents.db")) as connection:
        assert connection.execute("SELECT namespace, agent_id FROM agents").fetchall() == [
            ("default", "alice")
        ]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.asyncio
async def test_a_store_in_memory_is_emptied_between_rounds(tmp_path):
    with RedisServer() as server:
        client = driver("redis", "redis").Redis.from_url(server.url)
        found: list[tuple[str, int]] = []

        def count(said: str) -> None:
            streams = client.scan_iter(_type="stream")
            found.append((said.partition(":")[0], sum(client.xlen(stream) for stream in streams)))

        made = await run(plan(tmp_path, server.url, only=frozenset({"appends"})), count)
        client.close()
    assert not made.storages[0].warnings
    assert not made.notes
    for number in (1, 2):
        stored = [entries for place, entries in found if place == f"round {number} of 2"]
        assert stored[0] == 0
        assert stored[-1] > 64


@pytest.mark.asyncio
async def test_a_namespace_of_the_bench_cannot_be_given(tmp_path):
    with pytest.raises(StorageConfigError, match="namespace"):
        await run(plan(tmp_path, f"sqlite:///{tmp_path}/a.db?namespace=mine"), lambda _: None)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.asyncio
async def test_a_backend_that_is_not_installed_is_told_before_anything_is_measured(tmp_path):
    with pytest.raises(BackendNotFoundError):
        await run(plan(tmp_path, "file", "nosuchbackend"), lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_weaker_durability_is_never_compared_with_stronger(tmp_path):
    url = f"sqlite:///{tmp_path}/agents.db?durability=normal"
    made = await run(plan(tmp_path, url, only=frozenset({"appends"})), lambda _: None)
    goals = {goal.name: goal for goal in made.goals}
    assert goals["1 caller, of bare sqlite3"].verdict == "not comparable"
    assert "survives a power cut" in goals["1 caller, of bare sqlite3"].remark


@pytest.mark.asyncio
async def test_two_storages_of_one_backend_are_told_apart(tmp_path):
    full, weak = f"sqlite:///{tmp_path}/full.db", f"sqlite:///{tmp_path}/weak.db?durability=normal"
    made = await run(plan(tmp_path, full, weak, full, only=frozenset()), lambda _: None)
    assert [one.label for one in made.storages] == ["sqlite", "sqlite 2", "sqlite 3"]
    made = await run(plan(tmp_path, full, weak, only=frozenset()), lambda _: None)
    assert [one.label for one in made.storages] == ["sqlite, power-cut", "sqlite, crash"]


@pytest.mark.asyncio
async def test_memory_has_no_raw_part_and_says_so(tmp_path):
    made = await run(plan(tmp_path, "memory", only=frozenset({"appends"})), lambda _: None)
    assert "memory: there is no raw part for this kind of store" in made.notes
    assert [row.side for row in made.rows] == ["ours", "ours"]


@pytest.mark.asyncio
async def test_what_fails_on_the_way_is_told_and_costs_no_other_figure(tmp_path, monkeypatch):
    whole = WORKLOADS["turns"]

    async def broken(_seconds):
        raise StorageTimeoutError("the disk is asleep")

    async def cells(made):
        good, bad = await whole(made)
        bad.measure = broken
        return [bad, good]

    async def close(_self):
        raise RuntimeError("the door is stuck")

    monkeypatch.setitem(WORKLOADS, "turns", cells)
    monkeypatch.setattr(RawFile, "close", close)
    made = await run(plan(tmp_path, "file", only=frozenset({"turns"})), lambda _: None)
    assert [row.key for row in made.rows] == ["turn.same_bytes"]
    assert any("StorageTimeoutError: the disk is asleep" in note for note in made.notes)
    assert any("could not be removed: RuntimeError: the door is stuck" in note for note in made.notes)


@pytest.mark.asyncio
async def test_an_interrupted_run_tells_what_it_has_and_removes_the_rest(tmp_path):
    stop = asyncio.Event()

    def say(words):
        if words.startswith("round 2 of 2: file") and "64 callers" in words:
            stop.set()

    made = await run(plan(tmp_path, "file", only=frozenset({"appends", "turns"})), say, stop)
    alone, many, turn = (made.row("file", key) for key in ("append.callers.1", "append.callers.64", "turn"))
    assert [len(row.values) for row in (alone, many, turn) if row is not None] == [2, 2, 1]
    assert any("interrupted in round 2 of 2" in note for note in made.notes)
    goals = {goal.name: goal for goal in made.goals}
    assert goals["1 caller, of write + fsync"].figures
    assert goals["10 processes, of one"].remark == "the run was interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_what_hangs_or_raises_anything_is_given_up(tmp_path, monkeypatch):
    whole = WORKLOADS["turns"]

    async def hanging(_seconds):
        await asyncio.Event().wait()

    async def cells(made):
        good, bad = await whole(made)
        bad.measure, bad.limit = hanging, 0.1
        return [bad, good]

    async def unprepared(_made):
        raise sqlite3.OperationalError("no such table")

    monkeypatch.setitem(WORKLOADS, "turns", cells)
    monkeypatch.setitem(WORKLOADS, "appends", unprepared)
    made = await run(plan(tmp_path, "file", only=frozenset({"appends", "turns"})), lambda _: None)
    assert [row.key for row in made.rows] == ["turn.same_bytes"]
    assert any("failed: took more than 0.1 s" in note for note in made.notes)
    assert any(
        "appends could not be prepared: OperationalError: no such table" in note for note in made.notes
    )


@pytest.mark.asyncio
async def test_a_goal_that_was_not_measured_has_a_reason(tmp_path):
    made = await run(plan(tmp_path, "sqlite", only=frozenset({"appends"})), lambda _: None)
    reasons = {goal.name: goal.remark for goal in made.goals if goal.verdict == "not measured"}
    assert reasons["64 callers, of LangGraph's store"] == "left out by --against"
    assert reasons["10 processes, of one"] == "left out by --only"
    assert set(reasons.values()) == {"left out by --against", "left out by --only", "see the notes"}
