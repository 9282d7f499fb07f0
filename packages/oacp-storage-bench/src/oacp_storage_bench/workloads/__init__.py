"""The workloads. Each module has ``cells(subject)``: what it measures on that storage, prepared to be measured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from oacp_storage_bench.cell import Cell
from oacp_storage_bench.subject import Subject
from oacp_storage_bench.workloads import (
    appends,
    batches,
    documents,
    histories,
    memory,
    processes,
    replay,
    sizes,
    turns,
    watching,
)

Workload = Callable[[Subject], Awaitable[list[Cell]]]

WORKLOADS: dict[str, Workload] = {
    "appends": appends.cells,
    "sizes": sizes.cells,
    "batches": batches.cells,
    "documents": documents.cells,
    "histories": histories.cells,
    "turns": turns.cells,
    "watching": watching.cells,
    "replay": replay.cells,
    "memory": memory.cells,
    "processes": processes.cells,
}
"""By the name that ``--only`` takes, in the order of the report."""
