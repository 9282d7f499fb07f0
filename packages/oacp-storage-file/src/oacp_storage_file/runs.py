"""Runs: which sequences there are in a log, as ascending pairs of a first and a last one, both inclusive."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import itemgetter

Run = tuple[int, int]


def joined(runs: Iterable[Run]) -> list[Run]:
    """Ascending runs, with those that touch made one."""
    found: list[Run] = []
    for first, last in runs:
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def without(runs: Iterable[Run], taken: Sequence[Run]) -> list[Run]:
    """What is left of the runs without those that are taken."""
    left: list[Run] = []
    index = 0
    for first, last in runs:
        start = first
        while index < len(taken) and taken[index][1] < start:
            index += 1
        at = index
        while at < len(taken) and taken[at][0] <= last:
            if taken[at][0] > start:
                left.append((start, taken[at][0] - 1))
            start = taken[at][1] + 1
            at += 1
        if start <= last:
            left.append((start, last))
    return left


def between(runs: Sequence[Run], low: int, high: int) -> Run | None:
    """From the first to the last sequence of the runs with ``low`` < sequence < ``high``; None for none."""
    index = bisect_left(runs, low + 1, key=itemgetter(1))  # the first that ends after low
    if index == len(runs) or runs[index][0] >= high:
        return None
    first = max(runs[index][0], low + 1)
    while index + 1 < len(runs) and runs[index + 1][0] < high:
        index += 1
    return first, min(runs[index][1], high - 1)


def count(runs: Iterable[Run]) -> int:
    """How many sequences there are."""
    return sum(last - first + 1 for first, last in runs)
