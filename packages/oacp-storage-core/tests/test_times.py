"""Time: aware datetimes outside, microseconds inside, exact both ways."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oacp_storage_core.times import from_us, now_us, to_us

FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)


class NoOffset(tzinfo):
    """A zone that does not know its offset, which makes a datetime naive all the same."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        return "nowhere"


def test_known_moments() -> None:
    assert to_us(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    assert to_us(datetime(2001, 9, 9, 1, 46, 40, 7, tzinfo=UTC)) == 1_000_000_000_000_007
    assert from_us(1_000_000_000_000_007) == datetime(2001, 9, 9, 1, 46, 40, 7, tzinfo=UTC)


@given(
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), ZoneInfo("UTC")]))
)
def test_round_trip_is_exact_and_in_utc(moment: datetime) -> None:
    if not FIRST <= moment <= LAST:
        return
    back = from_us(to_us(moment))
    assert back == moment
    assert back.tzinfo is UTC


def test_both_sides_of_a_clock_change_are_told_apart() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    summer = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    winter = summer.replace(fold=1)
    assert to_us(winter) - to_us(summer) == 3600 * 1_000_000


def test_all_times_of_utc_are_kept() -> None:
    for moment in (FIRST, LAST):
        assert from_us(to_us(moment)) == moment


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_times_that_utc_cannot_hold_are_refused(moment: datetime) -> None:
    """They could be stored, but never be read."""
    with pytest.raises(ValueError, match=r"^since .* is outside the years 1 to 9999 in UTC$"):
        to_us(moment, "since")


@pytest.mark.parametrize("zone", [None, NoOffset()])
def test_naive_times_are_refused(zone: tzinfo | None) -> None:
    with pytest.raises(
        ValueError, match=r"^timestamp 2026-01-02T03:04:05 is naive; give it a time zone, as in "
    ):
        to_us(datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone))


@pytest.mark.parametrize("moment", [None, 0, 1.5, "2026-01-01T00:00:00Z", date(2026, 1, 1), timedelta(1)])
def test_what_is_no_time_is_refused(moment: Any) -> None:
    with pytest.raises(TypeError, match=f"^before must be a datetime, not {type(moment).__name__}$"):
        to_us(moment, "before")


def test_now_is_the_clock() -> None:
    earliest = time.time_ns() // 1000
    now = now_us()
    assert earliest <= now <= time.time_ns() // 1000
    assert abs(from_us(now) - datetime.now(UTC)) < timedelta(minutes=1)
