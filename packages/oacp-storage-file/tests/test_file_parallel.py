"""Doing many things at once: all of them, however many there are and whichever fail."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from file_steps import check_manifests
from file_world import World, contents, put, said
from oacp_storage_engine import DocKind, Unit
from oacp_storage_file.disk import Disk
from oacp_storage_file.parallel import do_all


@pytest.mark.parametrize("count", [0, 1, 31, 32, 500])
def test_everything_is_done_once(count: int) -> None:
    done: list[int] = []
    do_all([partial(done.append, n) for n in range(count)])
    assert sorted(done) == list(range(count))


def test_an_error_comes_after_everything_else_was_tried() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        do_all([fail, *(partial(done.append, n) for n in range(99)), fail])
    assert sorted(done) == list(range(99))


def test_a_checkpoint_of_many_agents(tmp_path: Path) -> None:
    world = World(tmp_path, Disk())
    agents = [f"agent-{n}" for n in range(60)]
    world.commit(*(said(agent, "1", "2") for agent in agents))
    world.commit(*(Unit(agent, (), (put(agent, DocKind.STATE, "", {"n": 1}),)) for agent in agents))
    world.close()
    check_manifests(tmp_path, contents(tmp_path), exactly=True)
    assert len(contents(tmp_path)["agents"]) == 60
    assert list((tmp_path / ".oacp/new").iterdir()) == []
