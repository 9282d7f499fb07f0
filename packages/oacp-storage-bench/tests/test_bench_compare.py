from __future__ import annotations

import pytest

from bench_samples import report, row
from oacp_storage_bench.compare import compare
from oacp_storage_bench.wording import comparisons


def test_ratios_are_taken_round_by_round():
    compared = compare(row("a", 100, 300, 200), row("b", 50, 100, 400))
    assert compared.ratios == [2, 3, 0.5]
    assert compared.median == 2
    assert compared.remark == ""


@pytest.mark.parametrize("unit", ["ms", "MB"])
def test_less_time_and_memory_is_better(unit):
    assert compare(row("a", 2, unit=unit), row("b", 6, unit=unit)).ratios == [3]


def test_rows_of_different_units_have_no_ratio():
    with pytest.raises(ValueError, match="a second"):
        compare(row("a", 1), row("b", 1, unit="ms"))


def test_a_weaker_one_is_compared_with_a_remark():
    compared = compare(row("a", 100), row("b", 50, durability="crash", who="Careless"))
    assert compared.ratios == [2]
    assert "Careless survives the end of the process only" in compared.remark


@pytest.mark.parametrize("ours", ["crash", "none"])
def test_a_stronger_one_is_not_compared(ours):
    compared = compare(row("a", 100, durability=ours), row("b", 50))
    assert compared.ratios == []
    assert compared.median is None
    assert "survives a power cut" in compared.remark


@pytest.mark.parametrize(
    ("ours", "other"), [("unknown", "power-cut"), ("power-cut", "unknown"), ("unknown", "unknown")]
)
def test_unknown_durability_is_not_compared(ours, other):
    compared = compare(row("a", 100, durability=ours), row("b", 50, durability=other))
    assert compared.ratios == []
    assert "will not tell" in compared.remark


def test_tables_say_why_there_is_no_ratio():
    ours = row("append", 100, durability="crash", against=["raw.x", "raw.missing"])
    (said,) = comparisons(report(ours, row("raw.x", 50, who="x")), ours)
    assert said.startswith("not compared with x: ")
