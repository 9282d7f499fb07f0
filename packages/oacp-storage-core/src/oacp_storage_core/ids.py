"""Interaction ids: UUID version 7 (RFC 9562), which sort by time and are never looked up before an append."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """A fresh UUIDv7 in its usual text form: 48 bits of milliseconds, 74 random bits."""
    ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (ms & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
