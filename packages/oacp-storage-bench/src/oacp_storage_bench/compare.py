"""Comparing two rows: a ratio for each round, and never silently between different durabilities."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from oacp_storage_bench.results import Row
from oacp_storage_core import Durability

_STRENGTH: dict[Durability, int] = {"power-cut": 3, "crash": 2, "none": 1, "unknown": 0}
_SURVIVES: dict[Durability, str] = {
    "power-cut": "survives a power cut",
    "crash": "survives the end of the process only",
    "none": "survives nothing",
    "unknown": "will not tell what it survives",
}


class Comparison(NamedTuple):
    """``ratios`` of one row to another, one for each round; above 1 the first one is the better.

    Empty when they must not be compared. ``remark`` speaks of the difference in durability, if there is one.
    """

    ratios: list[float]
    remark: str = ""

    @property
    def median(self) -> float | None:
        """The ratio that stands for all."""
        return statistics.median(self.ratios) if self.ratios else None


def compare(row: Row, other: Row) -> Comparison:
    """How much better ``row`` is than ``other``, round by round.

    Rows of equal, known durability are compared. Where ``other`` promises less the ratio is given, as a lower bound,
    with a remark. Where it promises more, or either will not tell, there is no ratio: only the remark.
    """
    if row.unit != other.unit:
        raise ValueError(f"{row.key} is measured in {row.unit}, {other.key} in {other.unit}")
    remark = ""
    if row.durability != other.durability or "unknown" in (row.durability, other.durability):
        remark = f"{other.who} {_SURVIVES[other.durability]}, {row.who} {_SURVIVES[row.durability]}"
        known = "unknown" not in (row.durability, other.durability)
        if not known or _STRENGTH[other.durability] > _STRENGTH[row.durability]:
            return Comparison([], remark)
    return Comparison(ratios(row, other), remark)


def ratios(row: Row, other: Row) -> list[float]:
    """The ratios round by round, above 1 where ``row`` is the better; rows of one round each serve for all."""
    pairs = list(zip(row.values, other.values, strict=False))
    if row.unit in ("ms", "MB"):
        return [theirs / ours for ours, theirs in pairs if ours]
    return [ours / theirs for ours, theirs in pairs if theirs]
