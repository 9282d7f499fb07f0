"""One of everything that changes a store, and what must be true of the store at any moment in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from file_world import Contents, World, contents, ids_of, put, said
from oacp_storage_engine import DocKind, Unit

Step = Callable[[World], object]

STEPS: dict[str, Step] = {
    "first append": lambda w: w.commit(said("a", "a1")),
    "group over agents": lambda w: w.commit(said("a", "a2", "a3"), said("b", "b1"), said("c", "c1")),
    "turn": lambda w: w.commit(
        Unit(
            "a",
            said("a", "a4").appends,
            (
                put("a", DocKind.STATE, "", {"n": 1}),
                put("a", DocKind.LEARNING, "k", {"n": 1}),
            ),
            turn=True,
        )
    ),
    "rotation": lambda w: w.commit(said("a", *(f"a{i}" for i in range(5, 12)))),
    "system state": lambda w: w.commit(Unit(None, (), (put(None, DocKind.SYSTEM, "s", {"n": 1}),))),
    "replacement": lambda w: w.commit(
        Unit("a", (), (put("a", DocKind.STATE, "", {"n": 2}), put("a", DocKind.LEARNING, "k", None)))
    ),
    "checkpoint": lambda w: w.checkpoint(),
    "after it": lambda w: w.commit(said("b", "b2"), said("c", "c2")),
    "trimming": lambda w: w.trim("a", keep_last=3),
    "trimming all": lambda w: w.trim("c", keep_last=0),
    "after trimming": lambda w: w.commit(said("a", "a12"), said("c", "c3")),
    "erasing": lambda w: w.erase("b"),
    "created again": lambda w: w.commit(said("b", "b3")),
    "backup": lambda w: w.backup(),
    "last": lambda w: w.commit(said("a", "a13"), said("d", "d1")),
}
PARTLY = {"trimming", "trimming all"}  # done in steps, each complete in itself


def check(root: Path, done: list[str], under_way: str | None, expected: dict[int, dict[str, Any]]) -> None:
    """The store is as after the steps that were done, or as after the one that was under way as well."""
    world = World(root, max_file_size=900)
    world.empty_trash()
    found = contents(root)
    before, after = expected[len(done)], expected.get(len(done) + 1, expected[len(done)])
    if under_way in PARTLY:
        for agent, log in found["agents"].items():
            was, becomes = before["agents"][agent], after["agents"][agent]
            assert log["head"] == was["head"]
            assert log["documents"] == was["documents"]
            assert set(becomes["log"]) <= set(log["log"]) <= set(was["log"])
    else:
        assert found in (before, after)
    # And it goes on: sequences after the last one, nothing left behind.
    heads = {agent: log["head"] for agent, log in found["agents"].items()}
    world.commit(said("a", "after-1"), said("z", "after-2"))
    world.close()
    went_on = contents(root)
    assert went_on["agents"]["a"]["head"] == heads.get("a", 0) + 1
    assert ids_of(went_on, "a")[-1] == "after-1"
    check_manifests(root, went_on, exactly=under_way not in PARTLY)
    left = [path.name for path in (root / ".oacp" / "trash").iterdir()]
    assert left == []


def check_manifests(root: Path, found: Contents, *, exactly: bool) -> None:
    """A store that was closed lists what it has; where trimming was interrupted, not all of it."""
    for agent, log in found["agents"].items():
        directory = root / "namespaces/n-default/agents" / f"a-{agent}"
        content = json.loads((directory / "agent.json").read_text())
        runs = content.get("present", [])
        listed = [sequence for first, last in runs for sequence in range(first, last + 1)]
        there = [sequence for sequence, _ in log["log"]]
        assert listed == there or (set(listed) < set(there) and not exactly), agent
        assert content["last_sequence"] == log["head"]
        assert documents_listed(directory) == {key: version for key, (version, _) in log["documents"].items()}
    listed_there = documents_listed(root / "namespaces/n-default")
    assert listed_there == {key: version for key, (version, _) in found["system"].items()}


def documents_listed(directory: Path) -> dict[str, int]:
    """The versions of documents by key; that of a state is empty."""
    path = directory / "documents.json"
    names = json.loads(path.read_text())["documents"] if path.exists() else {}
    return {Path(name).stem.removeprefix("k-").removesuffix("state"): names[name] for name in names}
