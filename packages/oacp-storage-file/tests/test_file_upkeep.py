"""What keeps a store sound: recovery from a damaged journal, checks, retention in damaged logs, erasure."""

from __future__ import annotations

from pathlib import Path

import pytest

from file_world import World, contents, ids_of, said
from oacp_storage_core import Damage
from oacp_storage_file import FileStorage
from oacp_storage_file.erasure import hide
from oacp_storage_file.journal_format import PREFIX_SIZE


def the_journal(root: Path) -> Path:
    (journal,) = root.glob(".oacp/journal-*")
    return journal


def two_groups(root: Path) -> tuple[bytes, int]:
    """A store of two commits, neither closed nor synced: the journal's content, and where the second begins."""
    world = World(root)
    world.commit(said("a", "a1", "a2"), said("b", "b1"))
    second = world.store.position.end
    world.commit(said("a", "a3"), said("b", "b2"))
    content = the_journal(root).read_bytes()
    world.die()
    return content, second


async def found_in(root: Path) -> tuple[list[Damage], tuple[str, ...], dict[str, int]]:
    async with FileStorage(root) as storage:
        damage = [one async for one in storage.verify()]
        counts = {agent: await storage.count_interactions(agent) for agent in await storage.list_agents()}
        return damage, (await storage.health()).warnings, counts


@pytest.mark.asyncio
async def test_a_damaged_journal_whose_files_are_whole_costs_nothing_and_is_told(tmp_path: Path) -> None:
    """The process was killed, so that the readable files have everything."""
    for at in (10, PREFIX_SIZE + 20, -30):
        root = tmp_path / str(at)
        content, second = two_groups(root)
        damaged = bytearray(content)
        damaged[second + at if at > 0 else len(content.rstrip(b"\0")) + at] ^= 1
        the_journal(root).write_bytes(damaged)
        damage, warnings, counts = await found_in(root)
        assert counts == {"a": 3, "b": 2}
        assert [one.kind for one in damage] == ["store"]
        assert "journal-00000001" in damage[0].reason
        assert warnings == (damage[0].reason,)
        (kept,) = (root / ".oacp/damaged").iterdir()
        assert kept.read_bytes().rstrip(b"\0") == bytes(damaged).rstrip(b"\0")
        kept.unlink()
        assert await found_in(root) == ([], (), {"a": 3, "b": 2})


@pytest.mark.asyncio
async def test_a_damaged_journal_after_a_power_cut_costs_what_is_damaged_only(tmp_path: Path) -> None:
    """The readable files lost what was not synced, and one bit of the journal flipped in a record of agent a."""
    root = tmp_path / "store"
    content, second = two_groups(root)
    for path in root.glob("namespaces/n-default/agents/*/log-*"):
        path.write_bytes(b"")
    damaged = bytearray(content)
    damaged[content.index(b"x" * 20)] ^= 1
    the_journal(root).write_bytes(damaged)
    damage, _, counts = await found_in(root)
    assert counts == {"a": 3, "b": 2}
    assert [(one.kind, one.agent_id, one.sequence) for one in damage] == [
        ("store", None, None),
        ("interaction", "a", 1),
    ]
    assert second < len(content)


@pytest.mark.asyncio
async def test_a_group_that_is_lost_leaves_a_gap_that_is_seen(tmp_path: Path) -> None:
    """The header of the first group is damaged, and a power cut took what it had written: others follow."""
    root = tmp_path / "store"
    content, _ = two_groups(root)
    for path in root.glob("namespaces/n-default/agents/*/log-*"):
        path.write_bytes(b"")
    damaged = bytearray(content)
    damaged[content.index(b'{"writes"') + 15] ^= 1
    the_journal(root).write_bytes(damaged)
    damage, _, _ = await found_in(root)
    assert {(one.agent_id, one.sequence) for one in damage} >= {("a", 1), ("b", 1), (None, None)}
    async with FileStorage(root) as storage:
        assert await storage.store_interaction("a", {"n": 4})
        page = [one async for one in storage.iter_interactions("a", after=2)]
        assert [one.sequence for one in page] == [3, 4]


@pytest.mark.asyncio
async def test_a_lost_position_is_made_anew(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 44, b"\0" * 44, b"short"):
        root = tmp_path / str(len(content)) / content[:1].hex()
        two_groups(root)
        (root / ".oacp/position").write_bytes(content)
        assert await found_in(root) == ([], (), {"a": 3, "b": 2})


@pytest.mark.asyncio
async def test_verify_names_what_does_not_belong(tmp_path: Path) -> None:
    async with FileStorage(tmp_path) as storage:
        await storage.store_interaction("a", {"n": 1})
        await storage.store_interaction("x" * 300, {"n": 1})
        await storage.store_learning_data("a", "k", {})
        agents = tmp_path / "namespaces/n-default/agents"
        (agents / "a-a/notes.txt").write_text("mine")
        (agents / "a-a/learning/k-K.json").write_text("{}")
        (agents / "stranger").mkdir()
        (agents / "a-_zz").mkdir()
        (agents / "file").write_text("")
        log = agents / "a-a/log-000000000001.jsonl"
        log.write_bytes(log.read_bytes() * 2)
        (hashed,) = agents.glob("ah-*")
        (hashed / "agent.json").unlink()
        reasons = [damage.reason async for damage in storage.verify()]
    for part in ("notes.txt", "k-K.json", "stranger", "a-_zz", "file", "ah-xxx", "holds 1 lines that are no"):
        assert sum(part in reason for reason in reasons) == 1, (part, reasons)


@pytest.mark.asyncio
async def test_retention_removes_damaged_records_by_their_place_only(tmp_path: Path) -> None:
    async with FileStorage(tmp_path, max_file_size=900) as storage:
        for n in range(1, 21):
            await storage.store_interaction("a", {"n": n, "text": "x" * 50})
    for n in (3, 12, 18):
        for path in tmp_path.glob("namespaces/n-default/agents/a-a/log-*"):
            path.write_bytes(path.read_bytes().replace(b'"n":%d,' % n, b'"n:%d",' % n))
    async with FileStorage(tmp_path) as storage:
        assert await storage.delete_interactions("a", ids=["nothing"]) == 0
        assert await storage.delete_interactions("a", keep_last=10, dry_run=True) == 10
        assert await storage.delete_interactions("a", keep_last=10) == 10
        assert await storage.count_interactions("a") == 10
        damage = [one.sequence async for one in storage.verify()]
        assert damage == [12, 18]
        assert await storage.delete_interactions("a", keep_last=0) == 10
        await storage.store_interaction("a", {"n": 21})
        assert [one.sequence async for one in storage.iter_interactions("a")] == [21]


def test_erasures_of_dead_processes_are_completed_while_others_work(tmp_path: Path) -> None:
    worker = World(tmp_path)
    worker.commit(said("a", *(f"a{n}" for n in range(10))))
    worker.commit(said("b", "b1"))
    busy = hide(worker.store, worker.names, "b")
    dead = World(tmp_path)
    dead.trash = hide(dead.store, dead.names, "a")
    dead.die()
    assert "a" not in contents(tmp_path)["agents"]
    other = World(tmp_path)
    other.empty_trash()
    left = [path.name for path in (tmp_path / ".oacp/trash").iterdir() if path.is_dir()]
    assert len(left) == 1  # that of b, whose owner lives
    assert busy is not None
    counted = busy.remove(worker.store.disk, 1000)
    assert (counted.interactions, counted.more) == (1, False)
    other.commit(said("a", "again"))
    assert contents(tmp_path)["agents"]["a"]["log"] == [(11, "again")]
    worker.close()
    other.close()


def test_erasing_a_large_agent_takes_steps(tmp_path: Path) -> None:
    world = World(tmp_path, max_file_size=2_000)
    world.commit(said("a", *(f"a{n}" for n in range(100))))
    trash = hide(world.store, world.names, "a")
    assert trash is not None
    steps = [trash.remove(world.store.disk, 20)]
    while steps[-1].more:
        steps.append(trash.remove(world.store.disk, 20))
    assert len(steps) > 3
    assert sum(step.interactions for step in steps) == 100
    assert list((tmp_path / ".oacp/trash").iterdir()) == []
    world.close()


def test_a_long_journal_is_closed_by_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oacp_storage_file.store.JOURNAL_LIMIT", 50_000)
    world, other = World(tmp_path), World(tmp_path)
    for n in range(30):
        (world, other)[n % 2].commit(said("a", f"a{n}", size=5_000))
    assert int(the_journal(tmp_path).name.removeprefix("journal-")) > 3
    assert the_journal(tmp_path).stat().st_size < 300_000
    world.close()
    other.close()
    assert the_journal(tmp_path).stat().st_size < 100
    assert ids_of(contents(tmp_path), "a") == [f"a{n}" for n in range(30)]


def test_few_descriptors_for_many_agents(tmp_path: Path) -> None:
    world = World(tmp_path)
    for start in range(0, 1000, 250):
        world.commit(*(said(f"agent-{n}", "one") for n in range(start, start + 250)))
    assert len(list(Path("/proc/self/fd").iterdir())) < 400
    world.commit(*(said(f"agent-{n}", "two") for n in range(1000)))
    world.close()
    assert all(ids_of(contents(tmp_path), f"agent-{n}") == ["one", "two"] for n in range(0, 1000, 99))
