"""Time: aware datetimes outside, integer UTC microseconds inside.

Time is data here, never an order: the order of a log is its sequence.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def now_us() -> int:
    """This client's clock, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def to_us(moment: datetime, what: str = "timestamp") -> int:
    """Microseconds since 1970 UTC; ``ValueError`` for a naive datetime, ``TypeError`` for what is none."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} must be a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(
            f"{what} {moment.isoformat()} is naive; give it a time zone, as in datetime.now(UTC)"
        )
    us = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST_US <= us <= _LAST_US:
        raise ValueError(f"{what} {moment.isoformat()} is outside the years 1 to 9999 in UTC")
    return us


def from_us(us: int) -> datetime:
    """The aware UTC datetime of ``us`` microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)
