from __future__ import annotations

import pytest

from bench_samples import report, row
from oacp_storage_bench.goals import judge
from oacp_storage_bench.startup import STARTING


def judged(*rows, backend="sqlite"):
    return {goal.name: goal for goal in judge(report(*rows, backend=backend))}


def test_a_ratio_is_judged_by_the_median_of_the_rounds():
    raw = row("raw.sqlite3.append.1", 1000, 1000, 1000)
    goal = judged(row("append.callers.1", 400, 600, 500), raw)["1 caller, of bare sqlite3"]
    assert goal.figures == [0.4, 0.6, 0.5]
    assert (goal.bound, goal.limit, goal.verdict) == ("at least", 0.5, "reached")
    goal = judged(row("append.callers.1", 400, 600, 499), raw)["1 caller, of bare sqlite3"]
    assert goal.verdict == "short"


def test_what_was_not_measured_is_neither_reached_nor_short():
    goals = judged()
    assert goals
    assert {goal.verdict for goal in goals.values()} == {"not measured"}
    assert {goal.remark for goal in goals.values()} == {"see the notes"}


def test_a_stronger_row_is_not_comparable():
    goal = judged(row("append.callers.1", 999, durability="crash"), row("raw.sqlite3.append.1", 1))[
        "1 caller, of bare sqlite3"
    ]
    assert (goal.verdict, goal.figures) == ("not comparable", [])
    assert "survives a power cut" in goal.remark


@pytest.mark.parametrize(("ours", "verdict"), [(3000, "reached"), (1000, "not comparable")])
def test_being_faster_than_a_weaker_peer_counts_and_being_slower_proves_nothing(ours, verdict):
    peer = row("peer.langgraph-sqlite.append.64", 1000, durability="crash")
    goal = judged(row("append.callers.64", ours), peer)["64 callers, of LangGraph's store"]
    assert goal.verdict == verdict
    assert goal.remark


@pytest.mark.parametrize(("turns", "verdict"), [(100, "reached"), (80, "reached"), (70, "short")])
def test_the_cost_of_a_turn_is_a_ratio_of_times(turns, verdict):
    goal = judged(row("turn", turns), row("turn.same_bytes", 100))["turn, cost of one append of its bytes"]
    assert goal.figures == [pytest.approx(100 / turns)]
    assert goal.verdict == verdict


def test_history_is_judged_at_the_longest_that_was_measured():
    rows = [row(f"append.history.{length}", rate) for length, rate in ((0, 120), (1000, 100), (100_000, 50))]
    goal = judged(*rows)["append at 100,000, cost of 1,000"]
    assert (goal.figures, goal.verdict) == ([2], "short")
    assert "full" in goal.remark
    rows.append(row("append.history.1000000", 100))
    goal = judged(*rows)["append at 1,000,000, cost of 1,000"]
    assert (goal.figures, goal.verdict, goal.remark) == ([1], "reached", "")


def test_tails_and_shares_come_from_the_row_itself():
    goals = judged(
        row("append.callers.64", 100, p50=[2.0, 2.0, 4.0], p99=[9.0, 20.0, 8.0]),
        row("processes.10", 100, slowest=[0.4]),
        row("processes.1", 100),
    )
    tail = goals["p99 of p50 at 64 callers"]
    assert (tail.figures, tail.verdict) == ([4.5, 10, 2], "reached")
    assert goals["slowest of 10 processes, of their mean"].verdict == "short"
    assert goals["10 processes, of one"].verdict == "reached"


def test_streaming_has_a_bound_in_megabytes():
    assert (
        judged(row("memory.stream.1000000", 65, unit="MB"))["streaming 1,000,000, MB above the start"].verdict
        == "short"
    )
    assert (
        judged(row("memory.stream.1000000", 64, unit="MB"))["streaming 1,000,000, MB above the start"].verdict
        == "reached"
    )


def test_starting_is_judged_once_for_all():
    goals = judged(
        row("start.import", 19, 30, 18, storage=STARTING), row("start.help", 301, storage=STARTING)
    )
    assert goals["import of core beyond asyncio, ms"].verdict == "reached"
    assert goals["oacp-storage --help, ms"].verdict == "short"


def test_a_store_of_others_has_no_goals():
    goals = judge(report(row("append.callers.1", 5), backend="somebodys"))
    assert {goal.storage for goal in goals} == {STARTING}


@pytest.mark.parametrize(
    ("backend", "name", "limit"),
    [
        ("file", "1 caller, of write + fsync", 0.7),
        ("file", "64 callers, of commits of 64 to one file", 0.35),
        ("file", "64 callers, of oacp FileStorage", 15),
        ("sqlite", "64 callers, of openai-agents", 12),
        ("postgresql", "64 callers, of unnest of 64 on 2 connections", 0.6),
        ("rediss", "64 callers, of pipelines of 64", 0.7),
        ("mongodb+srv", "64 callers, of insert_many of 64", 0.6),
        ("redis", "64 compare-and-sets, of single raw puts", 2.5),
        ("mongo", "batch of 10,000, of the raw bulk path", 0.8),
    ],
)
def test_goals_are_those_of_the_project(backend, name, limit):
    assert judged(backend=backend)[name].limit == limit
