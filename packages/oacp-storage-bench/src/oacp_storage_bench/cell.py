"""A cell: one thing to be measured, once in each round."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from oacp_storage_bench.measure import Sample
from oacp_storage_bench.results import Row

HEAVY_ROUNDS = 3

Measure = Callable[[float], Awaitable[Sample]]
"""Measures for about so many seconds."""


@dataclass
class Cell:
    """A row to be filled, and how.

    ``heavy`` ones start processes or take long: they are measured in the first ``HEAVY_ROUNDS`` only. ``failure``
    says why it is measured no longer: it failed, or took more than ``limit`` seconds in one round, for one peer that
    hangs must not cost the whole run.
    """

    row: Row
    measure: Measure
    heavy: bool = False
    failure: str | None = None
    limit: float = 300.0

    def is_due(self, number: int) -> bool:
        """Whether it is measured in that round; in round 0 nothing is kept."""
        return self.failure is None and (not self.heavy or 1 <= number <= HEAVY_ROUNDS)

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
