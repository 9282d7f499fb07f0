"""What the tests of the bench share: a profile that takes no time, and reports made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oacp_storage_bench.place import Place
from oacp_storage_bench.profile import Profile
from oacp_storage_bench.results import Machine, Report, Row, StorageFacts

TINY = Profile(
    name="tiny",
    rounds=2,
    seconds=0.02,
    callers=(1, 64),
    sizes=(100,),
    histories=(0, 1_000),
    batch=200,
    watched=3,
    replayed=100,
    streamed=1_000,
    processes=(1, 2),
    starts=1,
    warm_up=0.01,
)


def place(family: str, directory: Path, url: str | None = None) -> Place:
    return Place(family, url, directory, "test0")


def row(key: str, *values: float, **more: Any) -> Row:
    """A row of a SQLite storage; ours unless its key says otherwise."""
    side: Any = key.partition(".")[0] if key.startswith(("raw.", "peer.")) else "ours"
    given: dict[str, Any] = {
        "storage": "sqlite",
        "workload": "W1",
        "key": key,
        "what": key,
        "side": side,
        "who": key if side != "ours" else "sqlite",
        "unit": "a second",
        "durability": "power-cut",
        "settings": "WAL, synchronous=FULL",
        "values": list(values),
    }
    return Row(**(given | more))


def report(*rows: Row, backend: str = "sqlite") -> Report:
    machine = Machine("Linux", "a processor", 2, 8.0, 0.1, "/tmp", "ext4", 0.5)
    facts = StorageFacts(
        "sqlite", backend, "sqlite:///agents.db", "3.40.1", "power-cut", ["a warning | of it"]
    )
    return Report(
        started="2026-11-22T20:00:00+00:00",
        profile="tiny",
        rounds=3,
        seconds=1.5,
        command="oacp-storage bench sqlite",
        machine=machine,
        versions={"Python": "CPython 3.11.7"},
        storages=[facts],
        rows=list(rows),
        goals=[],
        notes=["sqlite: something was left out"],
    )
