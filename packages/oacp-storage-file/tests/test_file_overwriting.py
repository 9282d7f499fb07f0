"""Documents are overwritten in their files where that is safe, and replaced by new files where it is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from file_faults import FailingDisk, UnsyncedDisk
from file_world import World, contents, put, said
from oacp_storage_core import OutcomeUnknownError
from oacp_storage_engine import DocKind, Rejected, Unit
from oacp_storage_file.disk import Disk


def state(n: int, text: str = "") -> Unit:
    return Unit("a", (), (put("a", DocKind.STATE, "", {"n": n, "text": text}),))


def opened(tmp_path: Path, disk: Disk | None = None) -> tuple[World, Path]:
    """A store that holds one document, and its file."""
    world = World(tmp_path / "store", disk or UnsyncedDisk())
    world.commit(state(1, "a text that is longer than those after it"))
    return world, Path(world.layout.absolute(world.names.document("a", DocKind.STATE, "")))


def test_a_document_stays_in_its_file(tmp_path: Path) -> None:
    world, file = opened(tmp_path)
    inode = file.stat().st_ino
    world.commit(state(2))
    assert file.stat().st_ino == inode
    assert b'"n": 2' in file.read_bytes()
    assert file.read_bytes().endswith(b"}\n")
    world.close()


def test_a_document_that_outgrows_its_file_gets_a_new_one(tmp_path: Path) -> None:
    world, file = opened(tmp_path)
    inode = file.stat().st_ino
    world.commit(state(2, "x" * 20_000))
    assert file.stat().st_ino != inode
    assert len(file.read_bytes()) > 20_000
    world.close()


def test_what_has_a_second_name_is_not_written_to(tmp_path: Path) -> None:
    """As in a backup, which hard-links documents."""
    world, file = opened(tmp_path)
    kept = tmp_path / "kept"
    kept.hardlink_to(file)
    before = kept.read_bytes()
    world.commit(state(2))
    assert kept.read_bytes() == before
    assert b'"n": 2' in file.read_bytes()
    world.close()


def test_what_a_symbolic_link_points_to_is_not_written_to(tmp_path: Path) -> None:
    world, file = opened(tmp_path)
    elsewhere = tmp_path / "elsewhere.json"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    world.commit(state(2))
    assert elsewhere.read_bytes() == before
    assert b'"n": 2' in file.read_bytes()
    assert not file.is_symlink()
    world.close()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    world, file = opened(tmp_path)
    file.unlink()
    os.mkfifo(file)
    world.commit(state(2))
    assert b'"n": 2' in file.read_bytes()
    world.close()


def test_a_failed_group_leaves_its_documents_as_they_were(tmp_path: Path) -> None:
    """Whichever write of it finds no room: those of the journal, of the log, and of each document."""
    disk = FailingDisk(errno.ENOSPC, ("write",))
    world, file = opened(tmp_path, disk)
    world.commit(Unit(None, (), (put(None, DocKind.SYSTEM, "s", {"n": 1}),)))
    inode, before = file.stat().st_ino, contents(tmp_path / "store")
    group = (state(2), Unit(None, (), (put(None, DocKind.SYSTEM, "s", {"n": 2}),)), said("a", "late"))
    failures = 0
    for at in range(50):
        disk.arm(at)
        try:
            world.commit(*group)
        except Rejected:
            failures += 1
            assert contents(tmp_path / "store") == before
            assert file.stat().st_ino == inode
            continue
        except OutcomeUnknownError:  # all is written but the word that it is
            break
    else:
        pytest.fail("the commit never ended")
    assert failures >= 4
    assert contents(tmp_path / "store") != before
    world.close()
