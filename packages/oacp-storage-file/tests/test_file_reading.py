"""Reading by pages: any bounds, direction, limit and size of lines give what a list would."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from file_logs import AT, line, random_log, record, view, write_log
from oacp_storage_engine import Hint
from oacp_storage_file import segment as segments
from oacp_storage_file.log_reader import read_page


@pytest.mark.parametrize("block", [None, 40])
def test_pages_are_what_a_list_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int | None
) -> None:
    if block is not None:  # so that every line is longer than what is read at once
        for name in ("_BLOCK", "_SMALL_BLOCK", "_SCAN"):
            monkeypatch.setattr(segments, name, block)
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for i in range(25):
        log = random_log(rng, holes=True)
        write_log(tmp_path / str(i), log)
        records = [one for segment in log for one in segment]
        head = records[-1].sequence
        with view(tmp_path / str(i)) as opened:
            assert opened.head == head
            for _ in range(20):
                low = rng.randint(0, head + 1)
                high = rng.choice((None, rng.randint(0, head + 2)))
                limit = rng.choice((1, 2, 7, 1000))
                size = rng.choice((1, 500, 10**6))
                reverse = rng.random() < 0.5
                page = read_page(opened, low, high, reverse=reverse, limit=limit, max_bytes=size)
                within = [one for one in records if low < one.sequence < (head + 1 if high is None else high)]
                wanted = within[::-1] if reverse else within
                got = page.records
                assert got == wanted[: len(got)]
                assert len(got) <= limit
                assert got or not wanted
                assert len(got) == 1 or sum(len(one.body) for one in got) <= size
                assert page.next == (got[-1].sequence if len(got) < len(wanted) else None)
                stopped_early = len(got) < min(limit, len(wanted))
                assert not stopped_early or sum(len(one.body) for one in wanted[: len(got) + 1]) > size


def test_hints_leave_out_sure_misses_only(tmp_path: Path) -> None:
    (path,) = write_log(tmp_path, [[record(n) for n in range(1, 6)]])
    path.write_bytes(
        path.read_bytes().replace(line(record(2)), line(record(2)).replace(b"00002Z", b"00003Z"))
    )
    with view(tmp_path) as log:
        page = read_page(
            log,
            0,
            None,
            reverse=False,
            limit=10,
            max_bytes=10**6,
            hint=Hint(since_us=AT + 4, until_us=AT + 5),
        )
    assert [one.sequence for one in page.records] == [2, 4]  # whether 2 matches cannot be told
    assert page.next is None


def test_a_log_of_a_million_is_read_by_few_blocks(tmp_path: Path) -> None:
    """Bisection: what is read of a long segment does not grow with it."""
    read: list[int] = []

    class Counting(segments.Segment):
        def read(self, start: int, end: int) -> bytes:
            read.append(end - start)
            return super().read(start, end)

    costs = []
    for count in (1_000, 60_000):
        root = tmp_path / str(count)
        (path,) = write_log(root, [[record(n) for n in range(1, count + 1)]])
        segment = Counting("the agent", str(path), 1)
        read.clear()
        place = segment.find(count // 2)
        lines, _ = segment.lines(place.offset, limit=100, max_bytes=10**6)
        assert lines
        costs.append(sum(read))
        segment.close()
    assert costs[1] < 2 * costs[0] + 100_000


def test_what_is_appended_after_a_view_was_taken_is_none_of_it(tmp_path: Path) -> None:
    (path,) = write_log(tmp_path, [[record(1), record(2)]])
    with view(tmp_path) as log:
        with path.open("ab") as file:
            file.write(line(record(3)))
        page = read_page(log, 0, None, reverse=False, limit=10, max_bytes=10**6)
        assert [one.sequence for one in page.records] == [1, 2]
        assert page.head == 2


def test_an_empty_segment_holds_the_place_of_those_before_it(tmp_path: Path) -> None:
    paths = write_log(tmp_path, [[record(1), record(2)], [record(3)]])
    paths[1].write_bytes(b"")
    with view(tmp_path) as log:
        assert log.head == 2
        for reverse in (False, True):
            page = read_page(log, 0, None, reverse=reverse, limit=10, max_bytes=10**6)
            assert sorted(one.sequence for one in page.records) == [1, 2]
