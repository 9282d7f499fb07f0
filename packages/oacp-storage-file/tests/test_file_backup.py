"""Backups: consistent while others write, never changed afterwards, and stores of their own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from file_faults import FailingDisk
from file_world import World, contents, ids_of, said
from oacp_storage_core import StorageConfigError, StorageError
from oacp_storage_file import FileStorage, backup
from oacp_storage_file.__main__ import main
from oacp_storage_file.backup import Backup


def digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


async def turns(storage: FileStorage, agent: str, stop: asyncio.Event, done: dict[str, int]) -> None:
    """The state always says how long the log is, and the learning data too."""
    n = 0
    while not stop.is_set():
        n += 1
        await storage.record_turn(
            agent,
            interactions=[{"n": n, "text": "x" * 5000}],
            state={"n": n},
            learning={"k": {"n": n}},
        )
        done[agent] = n


async def check_consistent(directory: Path, at_least: dict[str, int]) -> None:
    async with FileStorage(directory) as storage:
        for agent in await storage.list_agents():
            state = await storage.get_agent_state(agent)
            assert state is not None
            log = [i["n"] for i in await storage.get_interactions(agent, 10**6)]
            assert log == list(range(1, state["n"] + 1))
            assert await storage.get_learning_data(agent, "k") == state
            assert state["n"] >= at_least.get(agent, 0)
        assert not [damage async for damage in storage.verify()]


@pytest.mark.asyncio
async def test_backups_under_load_are_consistent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_WORTH_ENDING", 20_000)
    stop = asyncio.Event()
    async with (
        FileStorage(tmp_path / "store", max_file_size=60_000) as one,
        FileStorage(tmp_path / "store", max_file_size=60_000) as other,
    ):
        done: dict[str, int] = {}
        tasks = [
            asyncio.create_task(turns(storage, f"{name}-{i}", stop, done))
            for name, storage in (("one", one), ("other", other))
            for i in range(2)
        ]
        taken = []
        for _ in range(3):
            before = dict(done)
            path = await one.backup()
            taken.append((path, before, digest(path)))
            await asyncio.sleep(0.1)
        await one.delete_interactions(keep_last=3)  # and whatever else rewrites files
        await one.delete_agent("nobody")
        await one.backup()
        stop.set()
        await asyncio.gather(*tasks)
        assert min(done.values()) > 3
    for path, before, was in taken:
        assert digest(path) == was, "a backup changed afterwards"
        await check_consistent(path, before)
    assert any(log.stat().st_nlink > 1 for path, _, _ in taken for log in path.rglob("log-*"))


@pytest.mark.asyncio
async def test_a_backup_and_its_store_go_their_own_ways(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "store") as storage:
        for n in range(3):
            await storage.store_interaction("a", {"n": n})
        await storage.store_agent_state("a", {"n": 3})
        path = await storage.backup()
        async with FileStorage(path) as copy:
            await copy.store_interaction("a", {"n": "of the copy"})
            await copy.store_agent_state("a", {"n": "of the copy"})
            await copy.delete_interactions("a", keep_last=2)
        await storage.store_interaction("a", {"n": "of the store"})
        assert [i["n"] for i in await storage.get_interactions("a")] == [0, 1, 2, "of the store"]
        assert await storage.get_agent_state("a") == {"n": 3}


@pytest.mark.asyncio
async def test_restoring_a_backup(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "store") as storage:
        await storage.store_interaction("a", {"n": 1})
        path = await storage.backup()
        await storage.store_interaction("a", {"n": 2})
        with pytest.raises(StorageConfigError, match="is in use"):
            await FileStorage.restore(storage.directory, tmp_path / "elsewhere")
        with pytest.raises(StorageConfigError, match="is not empty"):
            await FileStorage.restore(path, storage.directory)
    with pytest.raises(StorageConfigError, match="cannot be read as the mark"):
        await FileStorage.restore(tmp_path / "nothing", tmp_path / "new")
    before = digest(path)
    (tmp_path / "empty").mkdir()
    for target in ("new", "empty"):
        await FileStorage.restore(path, tmp_path / target)
        async with FileStorage(tmp_path / target) as restored:
            assert [i["n"] for i in await restored.get_interactions("a")] == [1]
            await restored.store_interaction("a", {"n": 3})
    assert digest(path) == before
    assert not list(tmp_path.glob("*restoring*"))
    assert not (tmp_path / "new" / "backups").exists()


@pytest.mark.asyncio
async def test_a_backup_that_was_used_and_not_closed_is_restored_whole(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "store") as storage:
        await storage.store_interaction("a", {"n": 1})
        path = await storage.backup()
    world = World(path)
    world.commit(said("b", "b1"))
    world.die()
    segment = path / "namespaces/n-default/agents/a-b/log-000000000001.jsonl"
    segment.write_bytes(segment.read_bytes()[:20])  # as a power cut may leave it; the journal has it all
    await FileStorage.restore(path, tmp_path / "new")
    async with FileStorage(tmp_path / "new") as restored:
        assert await restored.count_interactions("b") == 1


async def settled_backups(root: Path) -> list[str]:
    """The backups when the newest has everything that was stored, and the ones too many are gone."""
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.05)
            paths = sorted((root / "backups").glob("*"))
            log = paths[-1] / "namespaces/n-default/agents/a-a/log-000000000001.jsonl"
            if len(paths) == 2 and log.read_bytes().count(b"\n") == 60:
                return [path.name for path in paths]


@pytest.mark.asyncio
async def test_backups_in_the_background(tmp_path: Path) -> None:
    options = {"auto_backup": True, "backup_interval": 0.3, "backup_keep": 2}
    async with (
        FileStorage(tmp_path, **options) as one,  # type: ignore[arg-type]  # a mixed dict
        FileStorage(tmp_path, **options) as other,  # type: ignore[arg-type]  # a mixed dict
    ):
        seen: set[str] = set()
        begun = time.monotonic()
        for n in range(30):
            await one.store_interaction("a", {"n": n})
            await other.store_interaction("a", {"n": n})
            await asyncio.sleep(0.06)
            backups = sorted(path.name for path in (tmp_path / "backups").glob("*"))
            assert len(backups) <= 3
            seen.update(backups)
        # One for each interval, whichever process took it.
        assert 2 <= len(seen) <= (time.monotonic() - begun) / 0.3 + 2, seen
        settled = await settled_backups(tmp_path)
        await asyncio.sleep(0.5)  # nothing changed, so that no backup pushes out the older one
        assert sorted(path.name for path in (tmp_path / "backups").glob("*")) == settled
    async with FileStorage(tmp_path / "backups" / settled[-1]) as newest:
        assert await newest.count_interactions("a") == 60


@pytest.mark.asyncio
async def test_a_failing_backup_is_a_warning(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "store") as storage:
        await storage.store_interaction("a", {})
    (tmp_path / "store" / "backups").write_text("in the way")
    async with FileStorage(tmp_path / "store", auto_backup=True, backup_interval=0.1) as storage:
        await storage.store_interaction("a", {})
        warnings: Sequence[str] = ()
        for _ in range(1000):
            warnings = (await storage.health()).warnings
            if warnings:
                break
            await asyncio.sleep(0.05)
        assert "backup" in warnings[0]
        (tmp_path / "store" / "backups").unlink()
        for _ in range(1000):
            if not (await storage.health()).warnings:
                break
            await asyncio.sleep(0.05)
        assert (await storage.health()).warnings == ()
        assert list((tmp_path / "store" / "backups").iterdir())


_HOLD = """
import sys, time
from oacp_storage_file.locks import LockFile
lock = LockFile(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_only_one_backup_at_a_time(tmp_path: Path) -> None:
    one, other = World(tmp_path / "store"), World(tmp_path / "store")
    assert one.backup() is not None
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, other.layout.inner("backup.lock")], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert one.backup() is None
        holder.kill()
    assert other.backup() is not None
    one.close()
    other.close()


def test_erasing_or_trimming_meanwhile_starts_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "store"
    world, other = World(root, max_file_size=700), World(root, max_file_size=700)
    world.commit(said("a", *(f"a{n}" for n in range(20))), said("b", "b1"))
    copying = Backup.copy_all
    happened: list[object] = []

    def meanwhile(self: Backup) -> None:
        copying(self)
        if not happened:
            happened.append(True)
            other.erase("b")
            other.trim("a", keep_last=3)
            other.commit(said("a", "a20"))

    monkeypatch.setattr(Backup, "copy_all", meanwhile)
    path = world.backup()
    assert path is not None
    world.close()
    other.close()
    found = contents(Path(path))
    assert set(found["agents"]) == {"a"}
    assert ids_of(found, "a") == ["a17", "a18", "a19", "a20"]


@pytest.mark.parametrize("at", range(1, 9))
def test_a_commit_that_is_undone_meanwhile_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """It had made a new segment, so that the one before looked finished and was linked."""
    root = tmp_path / "store"
    disk = FailingDisk(errno.ENOSPC, ("write", "create"))
    world, other = World(root, max_file_size=500), World(root, disk, max_file_size=500)
    world.commit(said("a", "a1", "a2"))
    staging = type(other.store.files).undo
    copied: list[Any] = []

    def meanwhile(self: object, staged: object) -> None:
        if not copied:
            copied.append(Backup(world.store, str(tmp_path / "copy")))
            copied[0].copy_all()
        staging(self, staged)  # type: ignore[arg-type]  # the files it belongs to

    monkeypatch.setattr(type(other.store.files), "undo", meanwhile)
    begun = world.store.position
    disk.arm(at)
    with contextlib.suppress(StorageError):
        other.commit(said("a", "lost1", "lost2", "lost3", size=200), said("b", "lost4"))
    if not copied:
        pytest.skip("this call is not one of those that are undone")
    with world.store.locked():
        copied[0].bring_up_to_date(world.store.writes_since(begun))
        copied[0].complete()
    was = digest(tmp_path / "copy")
    world.commit(said("a", "a3"))
    assert digest(tmp_path / "copy") == was
    assert ids_of(contents(tmp_path / "copy"), "a") == ["a1", "a2"]
    world.close()
    other.close()


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path / "store")
    world.commit(said("a", "a1"))
    store = str(tmp_path / "store")
    assert main(["backup", store]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["backups", store]) == 0
    assert capsys.readouterr().out.splitlines() == [path]
    assert main(["restore", path, str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"restored {path} to {tmp_path / 'new'}\n"
    assert main(["restore", path, str(tmp_path / "new")]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main(["backup", str(tmp_path / "nothing")]) == 1
    assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
    world.close()
    assert ids_of(contents(tmp_path / "new"), "a") == ["a1"]
    assert main(["backups", str(tmp_path / "new")]) == 0
    assert capsys.readouterr() == ("", f"{tmp_path / 'new'} has no backups\n")


@pytest.mark.parametrize("command", ["backup", "backups", "accept", "restore"])
@pytest.mark.parametrize("what", ["missing", "file", "other", "link"])
def test_what_is_no_store_is_one_line(
    command: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / what
    (tmp_path / "file").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("link")
    rest = [str(tmp_path / "new")] if command == "restore" else []
    assert main([command, str(place), *rest]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert f"no {'backup' if command == 'restore' else 'store'} in {place}" in said.err


@pytest.mark.parametrize(
    ("raised", "status"), [(PermissionError(13, "Permission denied", "/x"), 1), (KeyboardInterrupt(), 130)]
)
def test_what_the_system_refuses_is_one_line(
    raised: BaseException,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(_layout: object) -> list[str]:
        raise raised

    monkeypatch.setattr("oacp_storage_file.__main__.list_backups", refuse)
    assert main(["backups", str(tmp_path)]) == status
    assert capsys.readouterr().err == ("/x: Permission denied\n" if status == 1 else "interrupted\n")
