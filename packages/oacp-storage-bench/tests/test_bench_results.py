from __future__ import annotations

import pytest

from bench_samples import report, row
from oacp_storage_bench import results
from oacp_storage_bench.goals import judge
from oacp_storage_bench.wording import described


def test_a_report_comes_back_from_json_as_it_was(tmp_path):
    made = report(
        row(
            "append.callers.64",
            1.5,
            2.5,
            3.5,
            p50=[1.0],
            p99=[2.0],
            cpu=[3.0],
            against=["raw.sqlite3.append.batch64"],
        ),
        row("raw.sqlite3.append.batch64", 1, 2, 3),
        row("watch", 12.5, unit="ms"),
        row("processes.10", 5, slowest=[0.5]),
    )
    made.goals = judge(made)
    results.write(made, tmp_path / "report.json")
    assert results.read(tmp_path / "report.json") == made


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', "[1, 2]"])
def test_what_is_no_report_is_refused_by_name(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is no report of oacp-storage bench"):
        results.read(path)


def test_a_report_of_another_format_is_refused(tmp_path):
    made = report()
    made.format = 99
    results.write(made, tmp_path / "report.json")
    with pytest.raises(ValueError, match="format 99"):
        results.read(tmp_path / "report.json")


@pytest.mark.parametrize(("load", "busy"), [(0.9, False), (1.1, True)])
def test_a_busy_machine_is_told_of(load, busy):
    machine = report().machine
    machine.load = load
    assert ("busy" in described(machine)) is busy
