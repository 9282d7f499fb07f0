"""The journal's format: what is torn, what is damaged, and what is neither."""

from __future__ import annotations

import random

import pytest

from oacp_storage_file.journal_format import (
    SECTOR,
    Damaged,
    FileRemoval,
    FileWrite,
    Group,
    LogWrite,
    Torn,
    format_group,
    scan,
    skim,
)

BASE = 65
FIRST = format_group([LogWrite("n-x/agents/a-a/log-000000000001.jsonl", 0, 900, 3)], [b"x" * 899, b"\n"])
SECOND = format_group(
    [FileWrite("n-x/system/k-a.json", 4, 7), FileRemoval("n-x/system/k-b.json")], [b"{ }\n", b""]
)
THIRD = format_group([FileRemoval("n-x/system/k-c.json")], [b""])
WHOLE = FIRST + SECOND + THIRD


def kinds(data: bytes) -> list[str]:
    return [type(found).__name__ for found in scan(data, BASE)]


def test_groups_come_back_as_they_were_written() -> None:
    first, second, third = scan(WHOLE + bytes(1000), BASE)
    assert isinstance(first, Group)
    assert isinstance(second, Group)
    assert isinstance(third, Group)
    assert (first.offset, first.end) == (BASE, BASE + len(FIRST))
    assert list(first.parts()) == [(first.writes[0], b"x" * 899 + b"\n")]
    assert [content for _, content in second.parts()] == [b"{ }\n", b""]
    assert second.writes[0] == FileWrite("n-x/system/k-a.json", 4, 7)
    assert third.writes == [FileRemoval("n-x/system/k-c.json")]
    assert first.intact
    assert third.end == BASE + len(WHOLE)


def test_an_outline_needs_no_contents() -> None:
    asked: list[int] = []

    def read(size: int) -> bytes:
        asked.append(size)
        return WHOLE[:size]

    assert skim(read).length == len(FIRST)
    many = format_group([LogWrite(f"n-x/agents/a-{n}/log", n, 1, n) for n in range(200)], [b"y"] * 200)
    assert len(skim(lambda size: many[:size]).writes) == 200


@pytest.mark.parametrize("padding", [b"", bytes(3000)])
def test_a_last_group_cut_anywhere_is_torn(padding: bytes) -> None:
    for cut in range(1, len(SECOND) - 1):
        found = list(scan(FIRST + SECOND[:cut] + padding, BASE))
        assert isinstance(found[0], Group)
        assert found[1:] == [Torn(BASE + len(FIRST))], cut


def test_sectors_written_in_any_order_are_torn_and_not_damaged() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    long = format_group(
        [LogWrite(f"n-x/agents/a-{n}/log", n, 30, n) for n in range(100)], [b"z" * 2999, b"\n"]
    )
    start = len(FIRST)
    for _ in range(300):
        data = bytearray(FIRST + long + bytes(5000))
        sectors = range((BASE + start) // SECTOR, (BASE + start + len(long) - 1) // SECTOR + 1)
        lost = rng.sample(sectors, rng.randint(1, len(sectors)))
        for sector in lost:
            low, high = (
                max(sector * SECTOR - BASE, start),
                min((sector + 1) * SECTOR - BASE, start + len(long)),
            )
            data[low:high] = bytes(high - low)
        found = list(scan(bytes(data), BASE))
        assert isinstance(found[0], Group)
        assert found[1:] in ([Torn(BASE + start)], []), sorted(lost)


def test_any_flipped_bit_of_a_complete_group_is_damage() -> None:
    """The last group included: it may have been acknowledged."""
    for start, group in ((0, FIRST), (len(FIRST), SECOND), (len(FIRST) + len(SECOND), THIRD)):
        for at in range(start, start + len(group)):
            for bit in range(8):
                data = bytearray(WHOLE)
                data[at] ^= 1 << bit
                found = list(scan(bytes(data) + bytes(600), BASE))
                damaged = [one for one in found if not isinstance(one, Group) or not one.intact]
                assert len(damaged) == 1, (at, bit)
                assert not isinstance(damaged[0], Torn), (at, bit)
                assert damaged[0].offset == BASE + start
                # What follows is found all the same.
                assert len(found) == 3, (at, bit)


def test_damaged_contents_leave_the_writes_known() -> None:
    data = bytearray(WHOLE)
    data[len(FIRST) - 10] ^= 1
    first = next(scan(bytes(data), BASE))
    assert isinstance(first, Group)
    assert not first.intact
    assert first.writes[0].file.endswith("log-000000000001.jsonl")


def test_rubbish_to_the_end_is_damage() -> None:
    assert kinds(b"rubbish that nobody wrote here, and quite a lot of it\n" + bytes(100)) == ["Damaged"]
    found = list(scan(FIRST + b"R" * 100 + bytes(50), BASE))
    assert found[1] == Damaged(BASE + len(FIRST), BASE + len(FIRST) + 100)


def test_unused_space_is_nothing() -> None:
    assert kinds(bytes(10_000)) == []
    assert kinds(b"") == []
