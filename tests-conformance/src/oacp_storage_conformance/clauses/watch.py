"""Watch: everything after a sequence, then live; nothing acknowledged is skipped or repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_core import Capability, Interaction, StorageClosedError

CLAUSE = ClauseName.WATCH
WATCH, HISTORY = Capability.WATCH, Capability.HISTORY


class WatchClause:
    """``watch_interactions``."""

    @clause(CLAUSE, WATCH)
    async def test_watching_begins_with_what_is_there(self, place: Place) -> None:
        """watch_interactions(after=n) yields everything after sequence n as records, then what comes live.

        Look at: how the first read and the waiting meet; and after, which is exclusive.
        """
        agent = place.name("ann")
        await place.fill(agent, 5)
        for after, expected in ((0, [1, 2, 3, 4, 5]), (3, [4, 5])):
            records = place.storage.watch_interactions(agent, after=after)
            found = await _take(records, len(expected))
            assert sequences(found) == expected
            assert [one.data for one in found] == [{"n": n} for n in expected]
            assert {one.agent_id for one in found} == {agent}
            await _end(records)

    @clause(CLAUSE, WATCH)
    async def test_watching_goes_on_live(self, place: Place) -> None:
        """What is appended while somebody watches arrives, by whichever storage it was written.

        Look at: the signal after a commit, and the one that other instances get.
        """
        agent, other = place.name("ann"), await place.second()
        await place.fill(agent, 2)
        records = place.storage.watch_interactions(agent, after=1)
        assert sequences(await _take(records, 1)) == [2]
        for n in range(3, 13):
            coming = asyncio.ensure_future(_take(records, 1))
            await asyncio.sleep(0)  # the watcher now waits
            await (place.storage, other)[n % 2].store_interaction(agent, {"n": n})
            assert [(one.sequence, one.data["n"]) for one in await coming] == [(n, n)]
        await _end(records)

    @clause(CLAUSE, WATCH)
    async def test_watching_from_now_begins_at_the_head(self, place: Place) -> None:
        """after=None starts at the head at the first __anext__: nothing from before comes, all from then on does.

        Look at: when the head is read. It is read at the first __anext__, not when watch_interactions is called.
        """
        agent = place.name("ann")
        await place.fill(agent, 3)
        records = place.storage.watch_interactions(agent)
        await place.fill(agent, 2, start=4)  # after the call, but before the first __anext__
        first = asyncio.ensure_future(anext(records))
        n = 5
        while not first.done():
            n += 1
            await place.storage.store_interaction(agent, {"n": n})
            await asyncio.sleep(0)
            assert n < 5_000, "nothing arrived, although the log kept growing"
        began = (await first).sequence
        assert began > 5, f"sequence {began} was there before the first __anext__"
        assert sequences(await _take(records, n - began)) == list(range(began + 1, n + 1))
        await _end(records)

    @clause(CLAUSE, WATCH)
    async def test_an_agent_may_be_watched_before_it_exists(self, place: Place) -> None:
        """An agent that was never written to can be watched: its first interaction arrives.

        Look at: lookups that raise, or end the iteration, for a missing row, key or file.
        """
        agent = place.name("ann")
        records = place.storage.watch_interactions(agent, after=0)
        coming = asyncio.ensure_future(_take(records, 2))
        await asyncio.sleep(0)
        await place.fill(agent, 2)
        assert sequences(await coming) == [1, 2]
        await _end(records)

    @clause(CLAUSE, WATCH)
    async def test_watching_is_for_one_agent(self, place: Place) -> None:
        """Who watches one agent gets nothing of another.

        Look at: signals taken for data.
        """
        agent, other = place.name("ann"), place.name("anna")
        records = place.storage.watch_interactions(agent, after=0)
        coming = asyncio.ensure_future(_take(records, 3))
        await asyncio.sleep(0)
        for _ in range(3):
            await place.storage.store_interaction(other, {"of": other})
            await place.storage.store_interaction(agent, {"of": agent})
        assert [one.data["of"] for one in await coming] == [agent] * 3
        await _end(records)

    @clause(CLAUSE, WATCH)
    async def test_watching_skips_and_repeats_nothing(self, place: Place) -> None:
        """Nothing acknowledged is skipped or repeated, with several watchers, while several storages write at once.

        Look at: delivery by signal instead of a read by sequence, and records read before their commit.
        """
        agent, count = place.name("ann"), 240
        storages = (place.storage, await place.second())
        await place.fill(agent, 10)
        watchers = [
            storages[i % 2].watch_interactions(agent, after=after) for i, after in enumerate((0, 0, 10, 4))
        ]

        async def write(writer: int) -> None:
            for n in range(count // 6):
                await storages[writer % 2].store_interaction(agent, {"by": writer, "n": n})

        watching = [
            asyncio.ensure_future(_take(records, count + 10 - after))
            for records, after in zip(watchers, (0, 0, 10, 4), strict=True)
        ]
        await asyncio.gather(*(write(writer) for writer in range(6)))
        for future, after in zip(watching, (0, 0, 10, 4), strict=True):
            found = await future
            assert sequences(found) == list(range(after + 1, count + 11))
            for writer in range(6):
                mine = [one.data["n"] for one in found if one.data.get("by") == writer]
                assert mine == list(range(count // 6))
        for records in watchers:
            await _end(records)

    @clause(CLAUSE, WATCH, Capability.BATCH_APPEND)
    async def test_watching_a_long_backlog(self, place: Place) -> None:
        """A watcher that begins far back gets the whole log in order, however long, while it goes on growing.

        Look at: pages, and the moment at which the backlog ends and live begins.
        """
        agent, count = place.name("ann"), 2_300
        await place.fill(agent, count)
        records = place.storage.watch_interactions(agent, after=0)
        found = await _take(records, 500)
        await place.fill(agent, 7, start=count + 1)
        found += await _take(records, count + 7 - 500)
        assert sequences(found) == list(range(1, count + 8))
        await _end(records)

    @clause(CLAUSE, WATCH, Capability.RETENTION)
    async def test_deleted_interactions_are_passed_over(self, place: Place) -> None:
        """Deleted interactions are passed over; what comes after them arrives.

        Look at: watchers that wait for the next sequence instead of anything greater.
        """
        agent = place.name("ann")
        ids = await place.fill(agent, 6)
        await place.storage.delete_interactions(agent, ids=[ids[0], ids[2], ids[5]])
        records = place.storage.watch_interactions(agent, after=0)
        assert sequences(await _take(records, 3)) == [2, 4, 5]
        coming = asyncio.ensure_future(_take(records, 1))
        await asyncio.sleep(0)
        await place.fill(agent, 1, start=7)
        assert sequences(await coming) == [7]
        await _end(records)

    @clause(CLAUSE, WATCH, Capability.AGENTS)
    async def test_a_cursor_outlives_its_agent(self, place: Place) -> None:
        """A watcher goes on when its agent is deleted and created again: its cursor stays valid.

        Look at: the sequence after delete_agent, and watchers that end with the agent.
        """
        agent = place.name("ann")
        await place.fill(agent, 4)
        records = place.storage.watch_interactions(agent, after=2)
        assert sequences(await _take(records, 2)) == [3, 4]
        coming = asyncio.ensure_future(_take(records, 2))
        await asyncio.sleep(0)
        await place.storage.delete_agent(agent)
        await place.fill(agent, 2)
        assert sequences(await coming) == [5, 6]
        await _end(records)

    @clause(CLAUSE, WATCH, Capability.TURN, Capability.BATCH_APPEND)
    async def test_every_kind_of_append_arrives(self, place: Place) -> None:
        """Interactions arrive however they were appended: singly, in batches, in turns.

        Look at: which writes send a signal.
        """
        agent = place.name("ann")
        records = place.storage.watch_interactions(agent, after=0)
        for count, write in (
            (1, lambda: place.storage.store_interaction(agent, {})),
            (3, lambda: place.storage.store_interactions(agent, [{}, {}, {}])),
            (2, lambda: place.storage.record_turn(agent, interactions=[{}, {}], state={})),
        ):
            coming = asyncio.ensure_future(_take(records, count))
            await asyncio.sleep(0)
            await write()
            assert len(await coming) == count
        await _end(records)

    @clause(CLAUSE, WATCH)
    async def test_closing_ends_watching(self, place: Place) -> None:
        """close() ends watching with StorageClosedError, for those who wait and those who ask afterwards.

        Look at: who wakes the waiting watchers when the storage is closed.
        """
        agent = place.name("ann")
        await place.fill(agent, 1)
        storage = await place.open()
        waiting, later = (
            storage.watch_interactions(agent, after=0),
            storage.watch_interactions(agent, after=0),
        )
        assert len(await _take(waiting, 1)) == 1
        coming = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0)
        await soon(storage.close(), "close() while somebody watches")
        with pytest.raises(StorageClosedError):
            await soon(coming, "the end of watching after close()")
        with pytest.raises(StorageClosedError):
            await soon(anext(later), "the end of watching after close()")

    @clause(CLAUSE, WATCH)
    async def test_watching_may_be_given_up(self, place: Place) -> None:
        """A watcher that is cancelled or given up leaves nothing behind: storage and other watchers go on.

        Look at: connections and locks that a waiting watcher holds, and what its cancellation does to them.
        """
        agent = place.name("ann")
        kept = place.storage.watch_interactions(agent, after=0)
        for n in range(1, 8):
            given_up = place.storage.watch_interactions(agent)
            coming = asyncio.ensure_future(anext(given_up))
            for _ in range(n):
                await asyncio.sleep(0)
            coming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await coming
            await soon(place.storage.store_interaction(agent, {"n": n}), "an append after a cancelled watch")
            assert sequences(await _take(kept, 1)) == [n]
        await _end(kept)

    @clause(CLAUSE, WATCH)
    async def test_a_negative_cursor_is_refused(self, place: Place) -> None:
        """A negative after raises ValueError.

        Look at: the check of watch_interactions.
        """
        with pytest.raises(ValueError, match=r"\S"):
            await soon(anext(place.storage.watch_interactions(place.name("ann"), after=-1)), "the refusal")


async def _take(records: AsyncIterator[Interaction], count: int) -> list[Interaction]:
    return [await soon(anext(records), f"record {n + 1} of {count}") for n in range(count)]


async def _end(records: AsyncIterator[Interaction]) -> None:
    """Give the watcher up as a caller does who is done."""
    aclose = getattr(records, "aclose", None)
    if aclose is not None:
        await soon(aclose(), "aclose() of a watcher")
