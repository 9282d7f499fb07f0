"""Interaction ids: UUID version 7."""

from __future__ import annotations

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_makes_ids_of_its_own() -> None:
    new_id()  # so that there is randomness to inherit
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, "\n".join(new_id() for _ in range(50)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        theirs = pipe.read().decode().split("\n")
    os.waitpid(child, 0)
    ours = [new_id() for _ in range(50)]
    assert len({one[-20:] for one in [*ours, *theirs]}) == 100


def test_threads_share_no_ids() -> None:
    with ThreadPoolExecutor(4) as threads:
        batches = list(threads.map(lambda _: [new_id() for _ in range(5000)], range(4)))
    assert len({one[-20:] for batch in batches for one in batch}) == 20_000
