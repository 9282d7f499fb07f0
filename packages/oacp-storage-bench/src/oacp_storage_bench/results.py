"""What a run found: rows of figures, and what is needed to judge them. Plain data, written to and read from JSON."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Literal

import msgspec

from oacp_storage_core import Durability

Side = Literal["ours", "raw", "peer"]
"""Whose figure it is: the storage's, that of its bare driver, or that of another library."""

Unit = Literal["a second", "ms", "MB"]
"""Of a row's values. ``a second`` is better when higher, ``ms`` and ``MB`` when lower."""

FORMAT = 1


class Row(msgspec.Struct):
    """One thing measured, with one value for each round.

    ``key`` names it within its storage (``append.callers.64``, ``raw.sqlite3.append.1``); ``against`` are keys of the
    rows that it is compared with. ``p50`` and ``p99`` are the latencies of single calls in milliseconds, ``cpu`` the
    microseconds of this process's time per call, ``slowest`` of several processes the rate of the slowest as a share of
    the mean; empty where they mean nothing.
    """

    storage: str
    workload: str
    key: str
    what: str
    side: Side
    who: str
    unit: Unit
    durability: Durability
    settings: str
    values: list[float] = []
    p50: list[float] = []
    p99: list[float] = []
    cpu: list[float] = []
    slowest: list[float] = []
    against: list[str] = []

    @property
    def median(self) -> float:
        """The value that stands for the row."""
        return statistics.median(self.values)


class Goal(msgspec.Struct):
    """A goal of the project and whether this run reached it; ``figures`` has one value for each round.

    ``verdict``: ``reached``, ``short``, ``not comparable`` (the rows differ in durability) or ``not measured``.
    """

    storage: str
    name: str
    bound: Literal["at least", "at most"]
    limit: float
    figures: list[float]
    verdict: Literal["reached", "short", "not comparable", "not measured"]
    remark: str = ""

    @property
    def median(self) -> float | None:
        """The figure that was judged."""
        return statistics.median(self.figures) if self.figures else None


class StorageFacts(msgspec.Struct):
    """A storage that was measured: its label, its URL without secrets, and its health."""

    label: str
    backend: str
    source: str
    server_version: str | None
    durability: Durability
    warnings: list[str]


class Machine(msgspec.Struct):
    """The machine, as far as it explains figures."""

    system: str
    processor: str
    cores: int
    memory_gb: float
    load: float
    directory: str
    file_system: str
    fsync_ms: float


class Report(msgspec.Struct):
    """A whole run. ``left_out`` says why workloads, ``raw`` or ``peers`` are not in it."""

    started: str
    profile: str
    rounds: int
    seconds: float
    command: str
    machine: Machine
    versions: dict[str, str]
    storages: list[StorageFacts]
    rows: list[Row]
    goals: list[Goal]
    notes: list[str]
    left_out: dict[str, str] = {}
    format: int = FORMAT

    def row(self, storage: str, key: str) -> Row | None:
        """The row of that key, if it was measured."""
        return next((row for row in self.rows if row.storage == storage and row.key == key), None)

    def of(self, storage: str) -> list[Row]:
        """All rows of a storage."""
        return [row for row in self.rows if row.storage == storage]


def write(report: Report, path: Path) -> None:
    """The report as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read(path: Path) -> Report:
    """The report that ``write`` wrote; ``ValueError`` for anything else."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.DecodeError as exc:
        raise ValueError(f"{path} is no report of oacp-storage bench: {exc}") from exc
    if report.format != FORMAT:
        raise ValueError(f"{path} is a report of format {report.format}; this release reads format {FORMAT}")
    return report
