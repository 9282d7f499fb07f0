"""Interaction ids: UUID version 7."""

from __future__ import annotations

import time
import uuid

from oacp_storage_core.ids import new_id
from oacp_storage_core.names import check_name


def test_is_a_uuid_of_version_7_in_its_usual_form() -> None:
    for _ in range(200):
        text = new_id()
        parsed = uuid.UUID(text)
        assert str(parsed) == text == check_name(text)
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122


def test_carries_the_time_in_milliseconds() -> None:
    earliest = time.time_ns() // 1_000_000
    stamp = uuid.UUID(new_id()).int >> 80
    assert earliest <= stamp <= time.time_ns() // 1_000_000


def test_sorts_by_time() -> None:
    first = new_id()
    stamp = first[:13]
    while (second := new_id())[:13] == stamp:  # within one millisecond there is no order
        pass
    assert first < second


def test_does_not_repeat_and_uses_all_its_random_bits() -> None:
    ids = [uuid.UUID(new_id()).int for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    random_bits = ((1 << 80) - 1) & ~(0xF << 76) & ~(0x3 << 62)
    ones = zeros = 0
    for value in ids:
        ones |= value
        zeros |= ~value
    assert ones & random_bits == random_bits
    assert zeros & random_bits == random_bits
