"""Time: aware datetimes, kept as UTC microseconds; never an order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.documents import KINDS, DocumentKind
from oacp_storage_conformance.place import Place, collect
from oacp_storage_core import Capability, Interaction

TIME = ClauseName.TIME
NAIVE = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - naive on purpose

MOMENTS = {
    "microseconds": datetime(2024, 5, 1, 12, 0, 0, 1, tzinfo=UTC),
    "last microsecond": datetime(2024, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "another zone": datetime(2024, 5, 1, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "west of UTC": datetime(2024, 5, 1, 23, 30, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
    "before 1970": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "1970": datetime(1970, 1, 1, tzinfo=UTC),
    "1899": datetime(1899, 7, 4, 3, 2, 1, 7, tzinfo=UTC),
    "year 1": datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    "after 2038": datetime(2038, 1, 19, 3, 14, 8, 5, tzinfo=UTC),
    "year 9999": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}


class TimeClause:
    """Timestamps of interactions and documents."""

    @clause(TIME, Capability.IDEMPOTENT_APPEND, Capability.HISTORY, cases=MOMENTS)
    async def test_times_are_kept_as_utc_microseconds(self, place: Place, case: datetime) -> None:
        """A given timestamp is kept to the microsecond and comes back as an aware datetime in UTC.

        Look at: times kept as float seconds or as milliseconds, and zones dropped instead of converted.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 1}, timestamp=case)
        (one,) = await place.log(agent)
        assert one.timestamp == case
        assert one.timestamp.utcoffset() == timedelta(0), "the time must come back in UTC"

    @clause(TIME, Capability.IDEMPOTENT_APPEND, Capability.HISTORY)
    async def test_times_need_not_grow(self, place: Place) -> None:
        """Times are not monotonic: what the caller gives is kept, also when it is earlier than the one before.

        Look at: times that are "corrected" to be after the last one.
        """
        agent = place.name("ann")
        times = [datetime(2024, 5, day, tzinfo=UTC) for day in (9, 3, 3, 27, 1)]
        for moment in times:
            await place.storage.store_interaction(agent, {}, timestamp=moment)
        assert [one.timestamp for one in await place.log(agent)] == times

    @clause(TIME, Capability.HISTORY)
    async def test_the_default_time_is_now_by_the_clients_clock(self, place: Place) -> None:
        """Without a timestamp, an interaction has the client's present time, aware and in UTC.

        Look at: local time taken for UTC, and times cut to seconds.
        """
        agent = place.name("ann")
        began = datetime.now(UTC)
        await place.fill(agent, 3)
        ended = datetime.now(UTC)
        for one in await place.log(agent):
            assert began <= one.timestamp <= ended
            assert one.timestamp.utcoffset() == timedelta(0)

    @clause(TIME, cases=KINDS)
    async def test_documents_tell_when_they_were_written(self, place: Place, case: DocumentKind) -> None:
        """updated_at of a document is the time of its last write, aware and in UTC.

        Look at: updated_at set at the first write only, or local time taken for UTC.
        """
        address = case.named(place, "one")
        handle = case.of(place.storage, address)
        for n in range(2):
            began = datetime.now(UTC)
            await handle.store({"n": n})
            ended = datetime.now(UTC)
            document = await case.of(await place.second(), address).document()
            assert document is not None
            assert began <= document.updated_at <= ended, f"write {n + 1}"
            assert document.updated_at.utcoffset() == timedelta(0)

    @clause(TIME, Capability.IDEMPOTENT_APPEND)
    async def test_a_naive_timestamp_is_refused(self, place: Place) -> None:
        """A naive timestamp raises ValueError, and nothing is stored.

        Look at: astimezone(), which takes a naive time for local.
        """
        agent = place.name("ann")
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.store_interaction(agent, {"n": 1}, timestamp=NAIVE)
        assert await place.payloads(agent) == []

    @clause(TIME, Capability.BATCH_APPEND)
    async def test_a_naive_time_in_a_record_is_refused(self, place: Place) -> None:
        """A naive time in an Interaction record raises ValueError, and nothing of the batch is stored.

        Look at: whether records pass the same checks as arguments.
        """
        agent = place.name("ann")
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.store_interactions(
                agent, [{"n": 1}, Interaction(agent, "x", 0, NAIVE, {"n": 2})]
            )
        assert await place.payloads(agent) == []

    @clause(TIME, Capability.HISTORY, cases={"since": "since", "until": "until"})
    async def test_naive_bounds_are_refused(self, place: Place, case: str) -> None:
        """A naive since or until raises ValueError, for an empty log too.

        Look at: bounds that are checked only when there is something to compare them with.
        """
        agent = place.name("ann")
        bounds: dict[str, Any] = {case: NAIVE}
        for _ in range(2):
            with pytest.raises(ValueError, match=r"\S"):
                await collect(place.storage.iter_interactions(agent, **bounds))
            with pytest.raises(ValueError, match=r"\S"):
                await place.storage.count_interactions(agent, **bounds)
            await place.fill(agent, 2)

    @clause(TIME, Capability.RETENTION)
    async def test_a_naive_time_deletes_nothing(self, place: Place) -> None:
        """A naive `before` of delete_interactions raises ValueError, and nothing is deleted.

        Look at: whether retention passes the same checks as everything else.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.delete_interactions(agent, before=NAIVE + timedelta(days=20_000))
        assert len(await place.payloads(agent)) == 3
