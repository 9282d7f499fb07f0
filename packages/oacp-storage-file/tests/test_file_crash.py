"""A process killed at any of its system calls loses nothing that it acknowledged, and leaves nothing half done."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from file_faults import CountingDisk, Killed, MortalDisk
from file_steps import PARTLY, STEPS, check
from file_world import World, contents, ids_of, said
from oacp_storage_file.disk import Disk


def run(root: Path, disk: Disk) -> tuple[list[str], str | None]:
    """Carry out the steps; returns those that ended, and the one that was under way when the process died."""
    done: list[str] = []
    world = None
    under_way: str | None = "opening"
    try:
        world = World(root, disk, max_file_size=900)
        for under_way, step in STEPS.items():
            step(world)
            done.append(under_way)
        under_way = "closing"
        world.close()
    except Killed:
        if world is not None:
            world.die()
        return done, under_way
    return done, None


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What is in the store after so many steps."""
    found: dict[int, dict[str, Any]] = {0: {"agents": {}, "system": {}}}
    root = tmp_path_factory.mktemp("undisturbed") / "store"
    world = World(root, max_file_size=900)
    for i, step in enumerate(STEPS.values(), 1):
        step(world)
        found[i] = contents(root)
    world.close()
    return found


def test_killed_at_every_system_call(tmp_path: Path, expected: dict[int, dict[str, Any]]) -> None:
    counting = CountingDisk()
    assert run(tmp_path / "all", counting) == (list(STEPS), None)
    calls = len(counting.calls)
    assert calls > 200
    for last in range(calls):
        root = tmp_path / str(last)
        done, under_way = run(root, MortalDisk(last))
        assert under_way is not None, f"call {last} was not reached"
        check(root, done, under_way, expected)


def test_killed_again_while_recovering(tmp_path: Path, expected: dict[int, dict[str, Any]]) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    counting = CountingDisk()
    run(tmp_path / "all", counting)
    for i in range(60):
        root = tmp_path / str(i)
        done, under_way = run(root, MortalDisk(rng.randrange(len(counting.calls))))
        for _ in range(3):
            try:
                world = World(root, MortalDisk(rng.randrange(1, 25)), max_file_size=900)
            except Killed:
                continue
            world.die()
        check(root, done, under_way, expected)


def test_another_process_finishes_what_a_killed_one_began(
    tmp_path: Path, expected: dict[int, dict[str, Any]]
) -> None:
    """Without a new opening: whoever takes the lock next finds a commit half applied and completes it."""
    steps = [name for name in STEPS if name not in PARTLY]
    counting = CountingDisk()
    run(tmp_path / "all", counting)
    for last in range(12, len(counting.calls), 3):
        root = tmp_path / str(last)
        try:
            survivor = World(root, max_file_size=900)
            mortal = World(root, MortalDisk(last), max_file_size=900)
        except Killed:
            continue
        done = 0
        try:
            for name in steps:
                STEPS[name](mortal)
                done += 1
        except Killed:
            pass
        mortal.die()
        before = set(ids_of(contents(root), "a")) if done else set()
        survivor.commit(said("a", "from-survivor"))
        after = ids_of(contents(root), "a")
        assert after[-1] == "from-survivor"
        assert before <= set(after)
        survivor.close()
