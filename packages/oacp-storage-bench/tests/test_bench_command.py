from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest

from bench_samples import report, row
from oacp_storage_bench import command, results
from oacp_storage_bench.processes import ChildFailed, child
from oacp_storage_bench.profile import PROFILES
from oacp_storage_bench.traffic import read_traffic
from oacp_storage_core import StorageConfigError


def bench(*words: str) -> int:
    status = command.app(list(words), exit_on_error=False, print_error=False)
    assert isinstance(status, int)
    return status


@pytest.fixture
def kept(tmp_path):
    made = report(
        row("append.callers.1", 900, 1000, 1100, against=["raw.sqlite3.append.1"], cpu=[10.0] * 3),
        row("raw.sqlite3.append.1", 1500, 2000, 2500, who="sqlite3"),
        row(
            "append.callers.64",
            9000,
            9500,
            9900,
            against=["peer.careless.append.64"],
            p50=[1.0] * 3,
            p99=[4.0] * 3,
        ),
        row("peer.careless.append.64", 90, 95, 99, durability="crash", who="Careless 1.0"),
    )
    results.write(made, tmp_path / "kept.json")
    return tmp_path / "kept.json"


def test_a_kept_report_is_shown_judged_and_drawn(kept, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    page, plot, again = tmp_path / "page.md", tmp_path / "plot.svg", tmp_path / "again.json"
    assert bench("--read", str(kept), "--markdown", str(page), "--plot", str(plot), "--json", str(again)) == 0
    shown = capsys.readouterr().out
    assert "0.50 of sqlite3" in shown
    assert "Careless 1.0 survives the end of the process only" in shown
    assert "reached" in shown
    text = page.read_text()
    assert "![Durable appends a second](plot.svg)" in text
    assert "| sqlite | 1 caller, of bare sqlite3 | at least 0.5 | 0.50 (0.44 to 0.60) | reached |  |" in text
    assert plot.read_text().lstrip().startswith("<?xml")
    assert "Careless 1.0 (crash only)" in plot.read_text()
    assert "</svg>" in plot.read_text()
    assert [goal.name for goal in results.read(again).goals]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no storage is named"),
        (("sqlite", "--against", "nothing"), "--against 'nothing' is not known; it takes raw, peers"),
        (("sqlite", "--only", "appends,dreams"), "--only 'dreams' is not known"),
        (("sqlite", "--directory", "/no/such/place"), "no directory /no/such/place"),
        (("sqlite", "--json", "/no/such/place/x.json"), "no directory /no/such/place"),
        (("--read", "/no/such/report.json"), "cannot be shown"),
        (("sqlite", "--traffic", "/no/such/traffic.jsonl"), "cannot be read"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(words, said):
    with pytest.raises(StorageConfigError, match=said):
        bench(*words)


def test_the_report_shows_no_password(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "bench", "redis://user:secret@host/0", "--profile", "quick"])
    shown = command.command_line()
    assert "secret" not in shown
    assert shown.endswith("--profile quick")


def test_it_is_found_by_the_command():
    told = subprocess.run(
        [sys.executable, "-m", "oacp_storage", "bench", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "--against" in told
    assert "watching" in told


@pytest.mark.parametrize("name", ["traffic.jsonl", "traffic.jsonl.gz"])
def test_traffic_is_read_plain_and_compressed(tmp_path, name):
    lines = [{"agent_id": f"a{n}", "interaction": {"n": n}} for n in range(5)]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    found = read_traffic(tmp_path / name, 3)
    assert found.lines == [("a0", {"n": 0}), ("a1", {"n": 1}), ("a2", {"n": 2})]


@pytest.mark.parametrize(
    "line", ["", "no json", "[]", '{"agent_id": 1, "interaction": {}}', '{"agent_id": "a"}']
)
def test_a_line_that_is_no_interaction_is_named(tmp_path, line):
    path = tmp_path / "traffic.jsonl"
    path.write_text(f'{{"agent_id": "a", "interaction": {{}}}}\n{line}\n')
    with pytest.raises(StorageConfigError, match="line 2"):
        read_traffic(path, 10)


def test_an_empty_file_is_no_traffic(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(StorageConfigError, match="no lines"):
        read_traffic(tmp_path / "empty.jsonl", 10)


def test_quick_measures_what_full_measures_but_less_of_it():
    quick, full = PROFILES["quick"], PROFILES["full"]
    assert quick.rounds >= 3
    assert set(quick.histories) < set(full.histories)
    assert 1_000 in quick.histories
    assert max(full.histories) == 1_000_000
    assert all(profile.streamed in profile.histories for profile in (quick, full))
    assert all({1, 64, 256} <= set(profile.callers) for profile in (quick, full))
    assert all({1, 10} <= set(profile.processes) for profile in (quick, full))


@pytest.mark.asyncio
async def test_a_child_that_cannot_begin_says_why():
    with pytest.raises(ChildFailed, match="no installed backend is called 'nosuchbackend'"):
        async with child("append", source="nosuchbackend", options={}, callers=1, agents=["a"]):
            pytest.fail("it must not begin")


@pytest.mark.asyncio
async def test_a_child_that_dies_is_noticed():
    async with child("append", source="memory", options={}, callers=1, agents=["a"]) as one:
        one.kill()
        with pytest.raises(ChildFailed, match="ended with status"):
            await one.ask({"seconds": 0.01})
