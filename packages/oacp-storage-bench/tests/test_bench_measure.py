from __future__ import annotations

import asyncio

import pytest

from oacp_storage_bench.measure import callers, once, percentile
from oacp_storage_bench.payloads import encode, message, messages


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentiles_are_of_the_nearest_rank(share, expected):
    assert percentile([float(n) for n in range(1, 101)], share) == expected


def test_the_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


@pytest.mark.asyncio
async def test_every_caller_calls_and_all_calls_are_counted():
    called: list[tuple[int, int]] = []

    async def call(who: int, n: int) -> None:
        called.append((who, n))
        await asyncio.sleep(0)

    sample = await callers(7, 0.01, call, each=3)
    assert sample.operations == 3 * len(called)
    assert {who for who, _ in called} == set(range(7))
    for who in range(7):
        assert [n for caller, n in called if caller == who] == list(
            range(sum(one == who for one, _ in called))
        )
    assert sample.p50 is not None
    assert sample.p99 is not None
    assert 0 < sample.p50 <= sample.p99


@pytest.mark.asyncio
async def test_a_caller_calls_at_least_once_and_the_last_answer_counts():
    sample = await callers(2, 0, lambda _who, _n: asyncio.sleep(0.05))
    assert sample.operations == 2
    assert sample.value < 2 / 0.045


@pytest.mark.asyncio
async def test_one_piece_of_work_is_timed_whole():
    sample = await once(100, lambda: asyncio.sleep(0.05))
    assert sample.operations == 100
    assert sample.value < 100 / 0.045


@pytest.mark.parametrize("size", [100, 1_000, 8_000, 100_000])
def test_messages_have_the_size_that_was_asked_for(size):
    for one in messages(size):
        assert abs(len(encode(one)) - size) <= 2


def test_messages_differ():
    assert len({encode(message(n)) for n in range(64)}) == 64
