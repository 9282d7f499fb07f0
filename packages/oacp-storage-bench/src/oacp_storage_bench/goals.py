"""The goals of the project, and whether a run reached them. Each is judged by the median of its rounds' figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from oacp_storage_bench.compare import compare, ratios
from oacp_storage_bench.place import FAMILIES
from oacp_storage_bench.results import Goal, Report, Row
from oacp_storage_bench.startup import STARTING

_ALL = ("file", "sqlite", "postgres", "redis", "mongo")


class Ratio(NamedTuple):
    """One row's figure as a multiple of another's, as ``compare`` allows; above 1 it is the better."""

    families: tuple[str, ...]
    name: str
    ours: str
    other: str
    at_least: float


_ONE, _MANY = "append.callers.1", "append.callers.64"

RATIOS = (
    Ratio(("file",), "1 caller, of write + fsync", _ONE, "raw.file.append.1", 0.7),
    Ratio(("file",), "64 callers, of commits of 64 to one file", _MANY, "raw.file.append.batch64", 0.35),
    Ratio(("file",), "64 callers, of oacp FileStorage", _MANY, "peer.oacp.append.64", 15),
    Ratio(("sqlite",), "1 caller, of bare sqlite3", _ONE, "raw.sqlite3.append.1", 0.5),
    Ratio(("sqlite",), "1 caller, of bare aiosqlite", _ONE, "raw.aiosqlite.append.1", 1.2),
    Ratio(("sqlite",), "64 callers, of commits of 64", _MANY, "raw.sqlite3.append.batch64", 0.6),
    Ratio(("sqlite",), "64 callers, of LangGraph's store", _MANY, "peer.langgraph-sqlite.append.64", 1.5),
    Ratio(("sqlite",), "64 callers, of openai-agents", _MANY, "peer.openai-sqlite.append.64", 12),
    Ratio(("postgres",), "1 caller, of one INSERT a commit", _ONE, "raw.asyncpg.append.1", 0.85),
    Ratio(
        ("postgres",),
        "64 callers, of unnest of 64 on 2 connections",
        _MANY,
        "raw.asyncpg.append.batch64",
        0.6,
    ),
    Ratio(("postgres",), "64 callers, of LangGraph's store", _MANY, "peer.langgraph-postgres.append.64", 2),
    Ratio(("redis",), "1 caller, of one XADD a time", _ONE, "raw.redis.append.1", 0.85),
    Ratio(("redis",), "64 callers, of pipelines of 64", _MANY, "raw.redis.append.batch64", 0.7),
    Ratio(("redis",), "64 callers, of llama-index", _MANY, "peer.llama-redis.append.64", 4),
    Ratio(("redis",), "64 callers, of py-key-value", _MANY, "peer.key-value-redis.append.64", 4),
    Ratio(("mongo",), "1 caller, of insert_one", _ONE, "raw.mongo.append.1", 0.85),
    Ratio(("mongo",), "64 callers, of insert_many of 64", _MANY, "raw.mongo.append.batch64", 0.6),
    *(
        Ratio(
            (family,), "batch of 10,000, of the raw bulk path", "batch.10000", f"raw.{slug}.batch.10000", 0.8
        )
        for family, slug in zip(_ALL, ("file", "sqlite3", "asyncpg", "redis", "mongo"), strict=True)
    ),
    Ratio(("sqlite",), "64 compare-and-sets, of single raw puts", "state.cas.64", "raw.sqlite3.put", 4),
    Ratio(("postgres",), "64 compare-and-sets, of single raw puts", "state.cas.64", "raw.asyncpg.put", 2.5),
    Ratio(("redis",), "64 compare-and-sets, of single raw puts", "state.cas.64", "raw.redis.put", 2.5),
    Ratio(_ALL, "256 callers, of 64", "append.callers.256", _MANY, 1),
    Ratio(("file", "sqlite"), "10 processes, of one", "processes.10", "processes.1", 1),
)


class Cost(NamedTuple):
    """The cost of one row as a multiple of another's: 1.2 is a fifth dearer. Both are our own."""

    name: str
    row: str
    base: str
    at_most: float


COSTS = (
    Cost("last 100 at {length:,}, cost of 1,000", "last100.{length}", "last100.1000", 1.2),
    Cost("append at {length:,}, cost of 1,000", "append.history.{length}", "append.history.1000", 1.2),
)
TURN = Cost("turn, cost of one append of its bytes", "turn", "turn.same_bytes", 1.3)


class Own(NamedTuple):
    """A bound of a figure that a row has by itself."""

    families: tuple[str, ...]
    name: str
    row: str
    figures: Callable[[Row], list[float]]
    bound: Literal["at least", "at most"]
    limit: float


def _tails(row: Row) -> list[float]:
    return [late / middle for late, middle in zip(row.p99, row.p50, strict=True)]


OWN = (
    Own(_ALL, "p99 of p50 at 64 callers", _MANY, _tails, "at most", 5),
    Own(
        ("file", "sqlite"),
        "slowest of 10 processes, of their mean",
        "processes.10",
        lambda row: row.slowest,
        "at least",
        0.5,
    ),
)
STARTING_GOALS = (
    Own((), "import of core beyond asyncio, ms", "start.import", lambda row: row.values, "at most", 20),
    Own((), "oacp-storage --help, ms", "start.help", lambda row: row.values, "at most", 300),
)
STREAM_MB = 64
FULL_HISTORY = 1_000_000


def judge(report: Report) -> list[Goal]:
    """All goals that concern the storages of the report."""
    return [goal for storage in report.storages for goal in _of(report, storage.label, storage.backend)] + [
        _own(report, STARTING, own) for own in STARTING_GOALS
    ]


def _of(report: Report, label: str, backend: str) -> Iterator[Goal]:
    family = FAMILIES.get(backend)
    if family is None:
        return
    for ratio in RATIOS:
        if family in ratio.families:
            yield _ratio(report, label, ratio)
    for own in OWN:
        if family in own.families:
            yield _own(report, label, own)
    yield _cost(report, label, TURN, "")
    lengths = sorted(_lengths(report, label, "append.history."))
    for cost in COSTS:
        length = lengths[-1] if lengths else FULL_HISTORY
        made = cost._replace(name=cost.name.format(length=length), row=cost.row.format(length=length))
        yield _cost(report, label, made, _short_history(length))
    yield _stream(report, label)


def _ratio(report: Report, label: str, ratio: Ratio) -> Goal:
    ours, other = report.row(label, ratio.ours), report.row(label, ratio.other)
    if ours is None or other is None:
        return _missing(report, label, ratio.name, "at least", ratio.at_least, ratio.ours, ratio.other)
    figures, remark = compare(ours, other)
    if not figures:
        return Goal(label, ratio.name, "at least", ratio.at_least, [], "not comparable", remark)
    goal = _judged(label, ratio.name, "at least", ratio.at_least, figures, remark)
    if remark and goal.verdict == "short":  # the other one promises less: falling behind it proves nothing
        goal.verdict = "not comparable"
    return goal


def _cost(report: Report, label: str, cost: Cost, remark: str) -> Goal:
    row, base = report.row(label, cost.row), report.row(label, cost.base)
    if row is None or base is None:
        return _missing(report, label, cost.name, "at most", cost.at_most, cost.row, cost.base)
    return _judged(label, cost.name, "at most", cost.at_most, ratios(base, row), remark)


def _own(report: Report, label: str, own: Own) -> Goal:
    row = report.row(label, own.row)
    if row is None or not own.figures(row):
        return _missing(report, label, own.name, own.bound, own.limit, own.row)
    return _judged(label, own.name, own.bound, own.limit, own.figures(row))


def _stream(report: Report, label: str) -> Goal:
    length = max(_lengths(report, label, "memory.stream."), default=FULL_HISTORY)
    name = f"streaming {length:,}, MB above the start"
    row = report.row(label, f"memory.stream.{length}")
    if row is None:
        return _missing(report, label, name, "at most", STREAM_MB, f"memory.stream.{length}")
    return _judged(label, name, "at most", STREAM_MB, row.values, _short_history(length))


def _judged(
    label: str,
    name: str,
    bound: Literal["at least", "at most"],
    limit: float,
    figures: list[float],
    remark: str = "",
) -> Goal:
    median = statistics.median(figures)
    reached = median >= limit if bound == "at least" else median <= limit
    return Goal(label, name, bound, limit, figures, "reached" if reached else "short", remark)


def _missing(
    report: Report, label: str, name: str, bound: Literal["at least", "at most"], limit: float, *keys: str
) -> Goal:
    """A goal without figures, with the reason: the first of the rows that it needs and that are not there."""
    key = next((key for key in keys if report.row(label, key) is None), keys[0])
    side = key.partition(".")[0]
    causes = [{"raw": "raw", "peer": "peers"}.get(side, ""), _workload(key)]
    reasons = [report.left_out[cause] for cause in causes if cause in report.left_out]
    return Goal(label, name, bound, limit, [], "not measured", reasons[0] if reasons else "see the notes")


_WORKLOADS = {
    "append.history.": "histories",
    "append.bytes.": "sizes",
    "append.": "appends",
    "batch.": "batches",
    "state.": "documents",
    "put": "documents",
    "last100": "histories",
    "turn": "turns",
    "processes.": "processes",
    "memory.": "memory",
    "start.": STARTING,
}
"""The workload of a row, by the beginning of its key without what names a driver or a peer."""


def _workload(key: str) -> str:
    plain = key.split(".", 2)[2] if key.startswith(("raw.", "peer.")) else key
    return next((name for start, name in _WORKLOADS.items() if plain.startswith(start)), "")


def _lengths(report: Report, label: str, prefix: str) -> list[int]:
    return [int(row.key.removeprefix(prefix)) for row in report.of(label) if row.key.startswith(prefix)]


def _short_history(length: int) -> str:
    return "" if length >= FULL_HISTORY else f"the goal is for {FULL_HISTORY:,}: --profile full"
