"""Interaction ids: UUID version 7 (RFC 9562), which sort by time and are never looked up before an append."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice

_AT_ONCE = 256
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # two bits of the digit stay random

_random_parts: Iterator[str] = iter(())


def new_id() -> str:
    """A fresh UUIDv7 in its usual text form: 48 bits of milliseconds, 74 random bits."""
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    # One step of a list's iterator, which threads may share.
    part = next(_random_parts, None) or _refilled()
    return f"{stamp[:8]}-{stamp[8:]}-7{part}"


def new_ids(count: int) -> list[str]:
    """As many fresh ids, of one moment."""
    stamp = f"{time.time_ns() // 1_000_000:012x}"
    start = f"{stamp[:8]}-{stamp[8:]}-7"
    parts = list(islice(_random_parts, count))
    while len(parts) < count:
        parts.append(_refilled())
        parts += islice(_random_parts, count - len(parts))
    return [start + part for part in parts]


def _refilled() -> str:
    """Fetch randomness for many ids at once, which costs the system call of one; returns the first part."""
    global _random_parts  # noqa: PLW0603 - shared by all callers
    digits = os.urandom(10 * _AT_ONCE).hex()
    pieces = [digits[i : i + 19] for i in range(0, len(digits), 20)]
    first, *rest = [f"{one[:3]}-{_VARIANT[one[3]]}{one[4:7]}-{one[7:]}" for one in pieces]
    _random_parts = iter(rest)
    return first


def _forget() -> None:
    """In a forked child: what is left belongs to the parent, which will use it too."""
    global _random_parts  # noqa: PLW0603 - as above
    _random_parts = iter(())


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget)
