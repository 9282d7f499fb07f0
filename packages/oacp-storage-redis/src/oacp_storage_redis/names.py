"""Names in order over all buckets, a page at a time, with as few names read as that takes."""

from __future__ import annotations

import heapq

from oacp_storage_redis.calls import Calls
from oacp_storage_redis.layout import BUCKETS, Layout

_LEAST_PIECE = 8


async def names_in_order(
    calls: Calls, layout: Layout, key: bytes, *, prefix: str, after: str | None, limit: int
) -> list[str]:
    """Members of the sorted sets ``T:<key>`` of all buckets, in code-point order (that of UTF-8 bytes).

    Each bucket is asked for somewhat more than its share. What comes after the last name of a bucket that may have
    more is not known to be next, so it is asked for again.
    """
    found: list[bytes] = []
    low = low_bound(prefix, after)
    while len(found) < limit:
        piece = max(_LEAST_PIECE, 2 * (limit - len(found)) // BUCKETS)
        bounds = low, high_bound(prefix), b"LIMIT", b"0", b"%d" % piece
        pages = await calls.commands(
            [(bucket, (b"ZRANGEBYLEX", layout.tags[bucket] + key, *bounds)) for bucket in range(BUCKETS)]
        )
        unsure = [page[-1] for page in pages if len(page) == piece]
        known = min(unsure) if unsure else None
        merged = heapq.merge(*pages)
        found += [name for name in merged if known is None or name <= known]
        if known is None:
            break
        low = b"(" + known
    return [name.decode() for name in found[:limit]]


def low_bound(prefix: str, after: str | None) -> bytes:
    """The lower bound of ZRANGEBYLEX."""
    start = prefix.encode()
    if after is not None and after.encode() >= start:
        return b"(" + after.encode()
    return b"[" + start if start else b"-"


def high_bound(prefix: str) -> bytes:
    """The upper bound of ZRANGEBYLEX; no UTF-8 has a byte 255."""
    return b"(" + prefix.encode() + b"\xff" if prefix else b"+"
