"""Damage in a log: whatever happens to its bytes, no record comes back wrong and none is passed over silently."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from file_logs import AGENT, judged, line, random_log, read_all, record, view, write_log
from oacp_storage_engine import Record
from oacp_storage_file.damage import sort_out

LOG = [[record(1), record(2), record(3)], [record(4), record(5)]]


def every_reading(root: Path) -> list[dict[int, Record | None]]:
    return [
        judged(read_all(root, limit=limit, reverse=reverse, max_bytes=max_bytes))
        for limit, max_bytes in ((1, 10**6), (2, 10**6), (1000, 10**6), (1000, 30))
        for reverse in (False, True)
    ]


@pytest.mark.parametrize("segment", [0, 1])
def test_any_flipped_bit(tmp_path: Path, segment: int) -> None:
    path = write_log(tmp_path, LOG)[segment]
    content = path.read_bytes()
    original = {one.sequence: one for records in LOG for one in records}
    harmless = 0
    for at in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            readings = every_reading(tmp_path)
            for found in readings:
                assert found == readings[0], (at, bit)
                for sequence, one in original.items():
                    assert found.get(sequence, "passed over") in (one, None), (at, bit, sequence)
                assert set(found) == set(original), (at, bit)
            harmless += None not in readings[0].values()
    # A capital T or Z of a time, or of an escape in JSON, may be read as before; nearly everything else is noticed.
    assert harmless == 0


def test_any_flipped_bit_leaves_the_head_alone(tmp_path: Path) -> None:
    """Or the next append would leave a gap, or be refused."""
    path = write_log(tmp_path, LOG)[1]
    content = path.read_bytes()
    for at in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with view(tmp_path) as log:
                assert log.head == 5, (at, bit)


def test_random_damage_to_random_logs(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for i in range(150):
        log = random_log(rng, holes=True)
        root = tmp_path / str(i)
        paths = write_log(root, log)
        original = {one.sequence: one for records in log for one in records}
        for _ in range(rng.randint(1, 3)):
            path = rng.choice(paths)
            content = bytearray(path.read_bytes())
            at, length = rng.randrange(len(content)), rng.randint(1, 400)
            kind = rng.choice(("flip", "zeros", "newline", "insert"))
            if kind == "flip":
                content[at] ^= 1 << rng.randrange(8)
            elif kind == "zeros":
                content[at : at + length] = bytes(len(content[at : at + length]))
            elif kind == "newline":
                content[at : at + 1] = b"\n"
            else:
                content[at:at] = rng.randbytes(length)
            path.write_bytes(content)
        whole = {
            one.sequence
            for path, records in zip(paths, log, strict=True)
            for one in records
            if b"\n" + line(one) in b"\n" + path.read_bytes()
        }
        for reverse in (False, True):
            for limit in (1, 3, 1000):
                found = judged(read_all(root, limit=limit, reverse=reverse))
                for sequence, one in found.items():
                    assert one is None or one == original[sequence]
                assert whole <= {sequence for sequence, one in found.items() if one is not None}


def test_a_lost_line_end_costs_one_record_and_not_two(tmp_path: Path) -> None:
    (path,) = write_log(tmp_path, [[record(1), record(2), record(3)]])
    path.write_bytes(path.read_bytes().replace(b"\n", b"J", 1))
    assert judged(read_all(tmp_path, limit=10)) == {1: None, 2: record(2), 3: record(3)}


def test_a_number_that_points_ahead_does_not_skip_others(tmp_path: Path) -> None:
    """Also where a page ends with it, and where bisection meets it."""
    records = [record(n, 200) for n in range(1, 400)]
    (path,) = write_log(tmp_path, [records])
    path.write_bytes(path.read_bytes().replace(b'{"sequence":150,', b'{"sequence":350,'))
    for limit in (1, 149, 150, 151, 1000):
        for reverse in (False, True):
            found = judged(read_all(tmp_path, limit=limit, reverse=reverse))
            assert found == {one.sequence: None if one.sequence == 150 else one for one in records}


def test_a_torn_tail_is_none_of_the_log(tmp_path: Path) -> None:
    (path,) = write_log(tmp_path, [[record(1), record(2)]])
    whole = path.read_bytes()
    tail = line(record(3))
    for cut in range(1, len(tail) - 1):
        path.write_bytes(whole + tail[:cut])
        assert judged(read_all(tmp_path, limit=10)) == {1: record(1), 2: record(2)}, cut
        with view(tmp_path) as log:
            assert log.head == 2


def test_a_whole_record_without_its_line_end_is_no_torn_tail(tmp_path: Path) -> None:
    (path,) = write_log(tmp_path, [[record(1), record(2)]])
    for end in (b"", b"K", b"\x0b"):
        path.write_bytes(path.read_bytes()[: len(line(record(1)) + line(record(2))) - 1] + end)
        found = judged(read_all(tmp_path, limit=10))
        assert set(found) == {1, 2}
        with view(tmp_path) as log:
            assert log.head == 2


def test_lines_of_another_agent_or_place_are_not_returned() -> None:
    lines = [line(record(n)).rstrip(b"\n") for n in (1, 2, 3)]
    assert sort_out("another", lines, 0, None) != sort_out(AGENT, lines, 0, None)
    assert all(one.damage for one in sort_out("another", lines, 0, None))
    assert [one.sequence for one in sort_out(AGENT, [*lines, lines[0]], 0, 4)] == [1, 2, 3]
