"""A power cut at any moment loses nothing that was acknowledged, and leaves nothing half done."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from file_power_cut import RecordingDisk, after_cut
from file_steps import STEPS, check
from file_world import World, contents

CUTS = int(os.environ.get("OACP_STORAGE_POWER_CUTS", "400"))
"""How many cuts to try; more find rarer things."""


def test_power_cut_at_any_moment(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    top = tmp_path / "disk"
    top.mkdir()
    disk = RecordingDisk()
    expected: dict[int, dict[str, Any]] = {0: {"agents": {}, "system": {}}}
    acknowledged: list[tuple[int, str]] = []
    world = World(top / "store", disk, max_file_size=900)
    opened = len(disk.events)
    for name, step in STEPS.items():
        step(world)
        acknowledged.append((len(disk.events), name))
        expected[len(acknowledged)] = contents(top / "store")
    world.close()
    names = [name for _, name in acknowledged]
    for i in range(CUTS):
        count = rng.randrange(opened, len(disk.events) + 1)
        left = tmp_path / str(i)
        after_cut(disk.events, str(top), count, rng, left)
        done = [name for at, name in acknowledged if at <= count]
        under_way = names[len(done)] if len(done) < len(names) else "closing"
        try:
            check(left / "store", done, under_way, expected)
        except BaseException:
            print(f"cut {i} after {count} events, during {under_way!r}; left in {left}")
            raise


def test_the_model_loses_what_is_not_synced(tmp_path: Path) -> None:
    """The simulation can fail: without syncing, acknowledged data goes."""
    top = tmp_path / "disk"
    top.mkdir()
    disk = RecordingDisk()
    fd = disk.open(f"{top}/file", create=True)
    disk.write(fd, b"x" * 2000, 0)
    seen = set()
    for seed in range(50):
        after_cut(disk.events, str(top), len(disk.events), random.Random(seed), tmp_path / str(seed))
        left = tmp_path / str(seed) / "file"
        seen.add(left.read_bytes().count(b"x") if left.exists() else None)
    assert {None, 0, 2000} < seen
    disk.sync(fd)
    disk.sync_directory(str(top))
    disk.close(fd)
    for seed in range(100, 110):
        after_cut(disk.events, str(top), len(disk.events), random.Random(seed), tmp_path / str(seed))
        assert (tmp_path / str(seed) / "file").read_bytes() == b"x" * 2000
