"""A disk that is full, or fails: what was not acknowledged did not happen, and the store is usable again at once."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from file_faults import FailingDisk
from file_steps import STEPS
from file_world import World, append, contents, ids_of, put, said
from oacp_storage_core import OutcomeUnknownError, StorageError
from oacp_storage_engine import Applied, DocKind, Rejected, Unit

GROUP = (
    said("a", "a1", "a2", size=300),
    said("b", "b1", given=True),
    Unit(
        "new",
        said("new", "n1").appends,
        (put("new", DocKind.STATE, "", {"n": 1}), put("new", DocKind.LEARNING, "k", {"n": 1})),
        turn=True,
    ),
    Unit(None, (), (put(None, DocKind.SYSTEM, "s", {"n": 1}),)),
)


def prepared(root: Path) -> None:
    """A store that was in use before, with something in the journal."""
    world = World(root, max_file_size=700)
    world.commit(said("a", "a0"), said("b", "b0"))
    world.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_each_write_of_a_commit_fails_once(tmp_path: Path, code: int) -> None:
    calls = ("write", "create", "make_directory")
    refused = Rejected if code == errno.ENOSPC else StorageError
    failed: list[str] = []
    for at in range(200):
        root = tmp_path / str(at)
        prepared(root)
        disk = FailingDisk(code, calls)
        world = World(root, disk, max_file_size=700)
        disk.arm(at)
        before = contents(root)
        try:
            world.commit(*GROUP)
        except OutcomeUnknownError:  # in the journal, and all but the last word of it written
            world.commit(said("b", "b2"))
            assert ids_of(contents(root), "a") == ["a0", "a1", "a2"]
            assert ids_of(contents(root), "b") == ["b0", "b1", "b2"]
            continue
        except refused:
            assert disk.failed is not None
        else:
            if disk.failed is None:
                break
            assert (disk.failed, code) == ("write", errno.ENOSPC)  # of the space ahead in the journal
            continue
        failed.append(disk.failed)
        assert contents(root) == before
        outcomes = world.commit(*GROUP)  # there is room again
        assert [one.sequences for one in outcomes[:3] if isinstance(one, Applied)] == [(2, 3), (2,), (1,)]
        world.close()
        assert ids_of(contents(root), "a") == ["a0", "a1", "a2"]
        assert ids_of(contents(root), "new") == ["n1"]
    else:
        pytest.fail("the commit never ended")
    assert set(failed) == set(calls)
    assert len(failed) > 12


def test_each_sync_of_the_steps_fails_once(tmp_path: Path) -> None:
    """After a failed sync it is either said that nothing was written, and so it is, or that it is not known."""
    seen: set[str] = set()
    for at in range(300):
        root = tmp_path / str(at)
        disk = FailingDisk(errno.EIO, ("sync", "sync_directory"))
        world = World(root, disk, max_file_size=900)
        disk.arm(at)
        for name, step in STEPS.items():
            before = contents(root)
            try:
                step(world)
            except OutcomeUnknownError:
                seen.add("unknown")
                assert name not in {"checkpoint", "trimming", "erasing", "backup"}
            except (StorageError, OSError):
                seen.add("failed")
                if name not in {"trimming", "trimming all", "erasing", "backup"}:
                    assert contents(root) == before, name
            if disk.failed:
                break
        if not disk.failed:
            break
        world.commit(said("a", "after"))
        world.close()
        assert ids_of(contents(root), "a")[-1] == "after"
    assert seen == {"failed"}  # one failure alone can always be taken back


def test_data_that_a_sync_lost_is_written_again_before_its_journal_goes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    disk = FailingDisk(errno.EIO, ("sync",))
    world = World(root, disk, max_file_size=900)
    world.commit(said("a", "a1"))
    disk.arm(0)
    with pytest.raises(OSError, match="Input/output"):
        world.checkpoint()
    # The system dropped what it could not write, and calls it written.
    (segment,) = root.glob("namespaces/n-default/agents/a-a/log-*.jsonl")
    segment.write_bytes(bytes(segment.stat().st_size))
    world.checkpoint()
    world.close()
    assert ids_of(contents(root), "a") == ["a1"]


def test_a_failed_group_leaves_no_agent_behind(tmp_path: Path) -> None:
    root = tmp_path / "store"
    prepared(root)
    disk = FailingDisk(errno.ENOSPC, ("create",))
    world = World(root, disk)
    disk.arm(0)
    with pytest.raises(Rejected):
        world.commit(said("ghost", "g1"))
    assert "ghost" not in contents(root)["agents"]
    world.close()


_LIMITED = """
import asyncio, resource, sys
from oacp_storage_core import StorageError
from oacp_storage_file import FileStorage

async def main():
    async with FileStorage(sys.argv[1]) as storage:
        await storage.store_interaction("small", {"n": 0})
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        stored = 0
        try:
            while True:
                await storage.store_interaction("big", {"n": stored, "text": "x" * 50_000})
                stored += 1
        except StorageError as error:
            print(error)
        assert 1 < stored < 10, stored
        assert [i["n"] for i in await storage.get_interactions("big")] == list(range(stored))
        for n in range(3):
            await storage.store_interaction("small", {"n": n + 1})
        print(stored, "stored")
    async with FileStorage(sys.argv[1]) as storage:
        assert await storage.count_interactions("big") == stored
        assert [i["n"] for i in await storage.get_interactions("small")] == [0, 1, 2, 3]
        assert not [damage async for damage in storage.verify()]

asyncio.run(main())
"""


def test_a_real_limit_on_file_sizes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, tmp_path / "store"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no room to write" in done.stdout
    assert "stored" in done.stdout


def test_one_unit_too_many_does_not_fail_the_others(tmp_path: Path) -> None:
    """A sequence that cannot be stored is refused by itself."""
    world = World(tmp_path / "store")
    huge = append("a", "x", {})._replace(given=True, sequence=2**63)
    with pytest.raises(Rejected, match="greater than"):
        world.commit(Unit("a", (huge,)))
    assert contents(tmp_path / "store")["agents"] == {}
    world.close()
