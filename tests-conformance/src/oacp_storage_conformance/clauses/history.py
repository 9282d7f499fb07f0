"""History: reading a log by bounds, times and direction, as a stream, by id, and as a count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, collect, sequences
from oacp_storage_core import Capability, Interaction

ORDER, HISTORY = ClauseName.ORDER, ClauseName.HISTORY
START = datetime(2024, 5, 1, 12, tzinfo=UTC)

BOUNDS: dict[str, dict[str, Any]] = {
    "none": {},
    "after": {"after": 3},
    "before": {"before": 8},
    "after and before": {"after": 2, "before": 6},
    "after the head": {"after": 10},
    "after past the head": {"after": 99},
    "before 1": {"before": 1},
    "before 0": {"before": 0},
    "neighbours": {"after": 4, "before": 5},
    "one between": {"after": 4, "before": 6},
    "crossed": {"after": 7, "before": 3},
    "before past the head": {"before": 99},
    "limit": {"limit": 4},
    "limit 0": {"limit": 0},
    "limit past the end": {"limit": 50},
    "after and limit": {"after": 3, "limit": 2},
    "before and limit": {"before": 8, "limit": 3},
}

TIMES: dict[str, dict[str, datetime]] = {
    "since": {"since": START + timedelta(hours=4)},
    "since between": {"since": START + timedelta(hours=4, microseconds=1)},
    "since just before": {"since": START + timedelta(hours=4, microseconds=-1)},
    "until": {"until": START + timedelta(hours=4)},
    "until just after": {"until": START + timedelta(hours=4, microseconds=1)},
    "since and until": {"since": START + timedelta(hours=2), "until": START + timedelta(hours=6)},
    "nothing between": {"since": START + timedelta(hours=2), "until": START + timedelta(hours=2)},
    "crossed": {"since": START + timedelta(hours=6), "until": START + timedelta(hours=2)},
}


class HistoryClause:
    """``iter_interactions``, ``get_interaction`` and ``count_interactions``."""

    @clause(HISTORY, Capability.HISTORY)
    async def test_records_hold_what_was_stored(self, place: Place) -> None:
        """iter_interactions yields Interaction records with agent, id, sequence, timestamp and data.

        Look at: how rows become records.
        """
        agent = place.name("ann")
        began = datetime.now(UTC)
        first = await place.storage.store_interaction(agent, {"type": "message", "text": "hello"})
        ended = datetime.now(UTC)
        (one,) = await place.log(agent)
        assert isinstance(one, Interaction)
        assert (one.agent_id, one.id, one.sequence) == (agent, first, 1)
        assert one.data == {"type": "message", "text": "hello"}
        assert began <= one.timestamp <= ended

    @clause(ORDER, Capability.HISTORY, cases=BOUNDS)
    async def test_sequence_bounds_are_exclusive_in_both_directions(
        self, place: Place, case: dict[str, Any]
    ) -> None:
        """after and before are exclusive sequence bounds in both directions; limit counts from where reading begins.

        Look at: < against <=, bounds that swap when reading in reverse, and where the limit is applied.
        """
        agent = place.name("ann")
        await place.fill(agent, 10)
        low, high = case.get("after", 0), case.get("before", 11)
        inside = [n for n in range(1, 11) if low < n < high]
        limit = case.get("limit", 10)
        assert sequences(await place.log(agent, **case)) == inside[:limit]
        assert sequences(await place.log(agent, **case, reverse=True)) == inside[::-1][:limit]
        bounds = {key: value for key, value in case.items() if key != "limit"}
        assert await place.storage.count_interactions(agent, **bounds) == len(inside)

    @clause(ORDER, Capability.HISTORY, Capability.IDEMPOTENT_APPEND, cases=TIMES)
    async def test_since_is_inclusive_and_until_exclusive(self, place: Place, case: dict[str, Any]) -> None:
        """since is inclusive and until exclusive, to the microsecond, whatever the order of the times in the log.

        Look at: times cut to milliseconds or kept as floats, and ranges taken from the ends of the log.
        """
        agent = place.name("ann")
        hours = [5, 1, 4, 8, 2, 4, 6]  # times are data: they need not grow along the log
        for hour in hours:
            await place.storage.store_interaction(
                agent, {"hour": hour}, timestamp=START + timedelta(hours=hour)
            )
        low, high = case.get("since", START), case.get("until", START + timedelta(days=1))
        inside = [hour for hour in hours if low <= START + timedelta(hours=hour) < high]
        assert [one.data["hour"] for one in await place.log(agent, **case)] == inside
        assert [one.data["hour"] for one in await place.log(agent, **case, reverse=True)] == inside[::-1]
        assert [one.data["hour"] for one in await place.log(agent, **case, limit=2)] == inside[:2]
        assert await place.storage.count_interactions(agent, **case) == len(inside)

    @clause(ORDER, Capability.HISTORY, Capability.IDEMPOTENT_APPEND)
    async def test_bounds_and_times_hold_together(self, place: Place) -> None:
        """Sequence bounds, times and the limit of iter_interactions must all hold, and the limit comes last.

        Look at: a limit that is applied before the times are looked at.
        """
        agent = place.name("ann")
        for n in range(1, 13):
            await place.storage.store_interaction(agent, {"n": n}, timestamp=START + timedelta(hours=n % 4))
        query: dict[str, Any] = {
            "after": 2,
            "before": 12,
            "since": START + timedelta(hours=1),
            "until": START + timedelta(hours=3),
        }
        assert sequences(await place.log(agent, **query)) == [5, 6, 9, 10]
        assert sequences(await place.log(agent, **query, limit=3)) == [5, 6, 9]
        assert sequences(await place.log(agent, **query, limit=3, reverse=True)) == [10, 9, 6]
        assert await place.storage.count_interactions(agent, **query) == 4

    @clause(HISTORY, Capability.HISTORY)
    async def test_a_long_log_is_streamed_whole(self, place: Place) -> None:
        """iter_interactions streams a log of any length by pages, each record once and in order, both ways.

        Look at: where one page ends and the next begins, forwards and in reverse.
        """
        agent, count = place.name("ann"), 2_503
        await place.fill(agent, count)
        assert sequences(await place.log(agent)) == list(range(1, count + 1))
        assert sequences(await place.log(agent, reverse=True)) == list(range(count, 0, -1))
        assert sequences(await place.log(agent, after=7, before=count - 7)) == list(range(8, count - 7))
        assert sequences(await place.log(agent, limit=1_203)) == list(range(1, 1_204))
        assert await place.storage.count_interactions(agent) == count

    @clause(HISTORY, Capability.HISTORY, Capability.RETENTION)
    async def test_holes_end_no_stream(self, place: Place) -> None:
        """iter_interactions passes over what was deleted, however wide the hole.

        Look at: pages counted by sequence, where an empty page is taken for the end.
        """
        agent, count = place.name("ann"), 1_500
        ids = await place.fill(agent, count)
        await place.storage.delete_interactions(agent, ids=ids[3:-2])
        left = [1, 2, 3, count - 1, count]
        assert sequences(await place.log(agent)) == left
        assert sequences(await place.log(agent, reverse=True)) == left[::-1]
        assert await place.storage.count_interactions(agent) == 5
        assert await place.payloads(agent, 4) == [{"n": n} for n in left[1:]]

    @clause(ORDER, Capability.HISTORY)
    async def test_iterating_ends_at_the_head_seen_first(self, place: Place) -> None:
        """iter_interactions ends at the head that it saw with its first page, although the log goes on growing.

        Look at: whether later pages are bounded by the head of the first.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        records = place.storage.iter_interactions(agent)
        found = [await soon(anext(records), "the first record")]
        await place.fill(agent, 600, start=4)
        found.extend(await soon(collect(records), "the end of the log"))
        assert sequences(found) == [1, 2, 3]

    @clause(HISTORY, Capability.HISTORY)
    async def test_an_unknown_agent_has_an_empty_history(self, place: Place) -> None:
        """The history of an agent that was never written to is empty: nothing to iterate, count 0, no interaction.

        Look at: lookups that raise for a missing row, key or file.
        """
        agent = place.name("nobody")
        assert await place.log(agent) == []
        assert await place.log(agent, reverse=True, limit=3) == []
        assert await place.storage.count_interactions(agent) == 0
        assert await place.storage.get_interaction(agent, "none") is None

    @clause(HISTORY, Capability.HISTORY)
    async def test_one_interaction_is_found_by_its_id(self, place: Place) -> None:
        """get_interaction returns the record of that id, of that agent only, and None for an unknown one.

        Look at: ids looked up without the agent, and ids matched in part.
        """
        agent, other = place.name("ann"), place.name("bob")
        ids = await place.fill(agent, 5)
        await place.fill(other, 1)
        log = await place.log(agent)
        for one in log:
            assert await place.storage.get_interaction(agent, one.id) == one
            assert await place.storage.get_interaction(other, one.id) is None
        assert await place.storage.get_interaction(agent, ids[0] + "0") is None
        assert await place.storage.get_interaction(agent, ids[0][:-1]) is None

    @clause(HISTORY, Capability.HISTORY, cases={"after": "after", "before": "before", "limit": "limit"})
    async def test_negative_bounds_are_refused(self, place: Place, case: str) -> None:
        """A negative after, before or limit raises ValueError.

        Look at: the checks of iter_interactions and count_interactions; a slice takes -1 for the last.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        bound: dict[str, Any] = {case: -1}
        with pytest.raises(ValueError, match=r"\S"):
            await collect(place.storage.iter_interactions(agent, **bound))
        if case != "limit":
            with pytest.raises(ValueError, match=r"\S"):
                await place.storage.count_interactions(agent, **bound)

    @clause(HISTORY, Capability.HISTORY)
    async def test_an_iteration_may_be_given_up(self, place: Place) -> None:
        """Whoever stops in the middle of iter_interactions leaves nothing behind: the storage goes on working.

        Look at: cursors, transactions and locks that only the end of the iteration releases.
        """
        agent = place.name("ann")
        await place.fill(agent, 600)
        for reverse in (False, True) * 8:
            records = place.storage.iter_interactions(agent, reverse=reverse)
            assert (await soon(anext(records), "a record")).sequence == (600 if reverse else 1)
            if (aclose := getattr(records, "aclose", None)) is not None:
                await soon(aclose(), "aclose()")
        await soon(place.storage.store_interaction(agent, {"n": 601}), "an append after iterations given up")
        assert await place.payloads(agent, 1) == [{"n": 601}]
