"""A cell: one thing to be measured, once in each round."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from oacp_storage_bench.measure import Sample
from oacp_storage_bench.results import Row

Measure = Callable[[float], Awaitable[Sample]]
"""Measures for about so many seconds."""


@dataclass
class Cell:
    """A row to be filled, and how. ``failure`` says why it is measured no longer."""

    row: Row
    measure: Measure
    failure: str | None = None

    def take(self, sample: Sample) -> None:
        """Add what a round found."""
        row = self.row
        row.values.append(sample.value)
        for figures, found in (
            (row.p50, sample.p50),
            (row.p99, sample.p99),
            (row.cpu, sample.cpu),
            (row.slowest, sample.slowest),
        ):
            if found is not None:
                figures.append(found)


@dataclass
class Group:
    """Cells that are measured one right after the other, because they are compared with each other."""

    cells: list[Cell] = field(default_factory=list)
