"""Loops and forks: opening lazily, event loops that come and go, and closing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from oacp_storage_conformance.calls import ALL_CALLS, Call
from oacp_storage_conformance.clause import ClauseName, Trait, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, collect, tidied
from oacp_storage_conformance.setting import Setting
from oacp_storage_conformance.workers import worker
from oacp_storage_core import Capability, Storage, StorageClosedError, StorageUsageError

LOOPS = ClauseName.LOOPS
STORAGE = Trait.STORAGE


class LoopsClause:
    """The life of a storage object."""

    @clause(LOOPS, cases=ALL_CALLS)
    async def test_it_opens_at_the_first_use(self, place: Place, case: Call) -> None:
        """A storage is opened lazily at the first use, whichever method that is.

        Look at: methods that use a connection which only open() makes.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 0})
        fresh = place.build()
        await soon(case(fresh, agent, place.name("key")), "the first use of a storage that nobody opened")

    @clause(LOOPS)
    async def test_opening_twice_is_opening_once(self, place: Place) -> None:
        """open() may be called again, also at the same time, and opens once.

        Look at: two first uses at once, each of which opens.
        """
        agent = place.name("ann")
        storage = place.build()
        await soon(asyncio.gather(*(storage.open() for _ in range(5))), "open() at once")
        await storage.open()
        fresh = place.build()
        calls = [fresh.store_interaction(agent, {"n": n}) for n in range(10)]
        assert len(set(await soon(asyncio.gather(*calls), "first uses at once"))) == 10
        assert len(await storage.get_interactions(agent)) == 10

    @clause(LOOPS)
    async def test_it_is_an_async_context_manager(self, place: Place) -> None:
        """`async with` opens the storage and closes it at the end, also when the block raises.

        Look at: __aenter__ and __aexit__.
        """
        agent = place.name("ann")
        storage = place.build()

        async def block() -> None:
            async with storage as entered:
                assert entered is storage
                await entered.store_interaction(agent, {"n": 1})
                raise KeyError("of the caller")

        with pytest.raises(KeyError, match="of the caller"):
            await block()
        with pytest.raises(StorageClosedError):
            await storage.get_interactions(agent)
        assert await place.payloads(agent) == [{"n": 1}]

    @clause(LOOPS, STORAGE)
    def test_it_goes_on_in_a_new_loop(self, setting: Setting) -> None:
        """Used from a new event loop after the old one ended, a storage reopens by itself; nothing is lost.

        Look at: connections, locks and tasks that belong to the loop that ended.
        """
        agent, storage = setting.name("ann"), setting.build()
        with tidied(setting):
            for n in range(4):
                asyncio.run(_use(storage, agent, n))
            asyncio.run(_close(storage))

    @clause(LOOPS, STORAGE)
    def test_a_loop_may_end_in_the_middle(self, setting: Setting) -> None:
        """When the loop ends while calls are in flight, the storage goes on in a new one, and no call is there twice.

        Look at: commits that nobody waits for any more, and transactions that stay open.
        """
        agent, storage = setting.name("ann"), setting.build()

        async def leave(first: int) -> None:
            for n in range(first, first + 5):
                await storage.store_interaction(agent, {"n": n})
            for n in range(first + 5, first + 15):
                asyncio.ensure_future(storage.store_interaction(agent, {"n": n}))  # noqa: RUF006 - to be left behind
            for _ in range(first // 15):
                await asyncio.sleep(0)

        async def check(rounds: int) -> None:
            stored = [
                one["n"] for one in await soon(storage.get_interactions(agent, 1000), "a read in a new loop")
            ]
            assert stored == sorted(set(stored)), f"out of order or doubled: {stored}"
            for first in range(0, rounds * 15, 15):
                assert set(range(first, first + 5)) <= set(stored), "acknowledged, but lost with the loop"

        with tidied(setting):
            for rounds in range(1, 8):
                asyncio.run(leave((rounds - 1) * 15))
                asyncio.run(check(rounds))
            asyncio.run(_close(storage))

    @clause(LOOPS, STORAGE, cases=ALL_CALLS)
    async def test_two_running_loops_are_refused(self, place: Place, case: Call) -> None:
        """Used from two running loops at once, it raises StorageUsageError that says so, and works on in the first.

        Look at: whether every method asks which loop is running before it does anything.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 0})

        async def in_another_loop() -> None:
            await soon(case(place.storage, agent, place.name("key")), "the refusal in the second loop")

        with pytest.raises(StorageUsageError, match="loop"):
            await asyncio.to_thread(_run, in_another_loop)
        assert await place.storage.get_interactions(agent) == [{"n": 0}]
        await soon(place.storage.store_interaction(agent, {"n": 1}), "an append in the first loop")
        assert await place.payloads(agent) == [{"n": 0}, {"n": 1}]

    @clause(LOOPS, STORAGE)
    async def test_the_first_loop_keeps_its_storage(self, place: Place) -> None:
        """What is in flight in the first loop is not disturbed by the refusal of a second one.

        Look at: reopening that closes what the first loop uses.
        """
        agent = place.name("ann")

        async def in_another_loop() -> None:
            for _ in range(5):
                with pytest.raises(StorageUsageError):
                    await soon(place.storage.store_interaction(agent, {"n": "other"}), "the refusal")

        calls = [asyncio.ensure_future(place.storage.store_interaction(agent, {"n": n})) for n in range(50)]
        await asyncio.to_thread(_run, in_another_loop)
        await soon(asyncio.gather(*calls), "the appends of the first loop")
        assert await place.payloads(agent) == [{"n": n} for n in range(50)]

    # --- closing ------------------------------------------------------------------------------------------

    @clause(LOOPS, cases=ALL_CALLS)
    async def test_a_use_after_close_is_refused(self, place: Place, case: Call) -> None:
        """A use after close() raises StorageClosedError, by every method, and does not open it again.

        Look at: methods that open lazily without looking whether the storage was closed.
        """
        agent = place.name("ann")
        storage = await place.open()
        await storage.store_interaction(agent, {"n": 0})
        await soon(storage.close(), "close()")
        for _ in range(2):
            with pytest.raises(StorageClosedError, match=r"\S"):
                await soon(case(storage, agent, place.name("key")), "the refusal")
        assert await place.payloads(agent) == [{"n": 0}]

    @clause(LOOPS)
    async def test_closing_again_does_nothing(self, place: Place) -> None:
        """close() is idempotent: again, at the same time, and on a storage that was never used.

        Look at: what close() releases twice or does not find.
        """
        used, unused, opened = await place.open(), place.build(), await place.open()
        await used.store_interaction(place.name("ann"), {})
        for storage in (used, unused, opened):
            await soon(asyncio.gather(*(storage.close() for _ in range(4))), "close() at once")
            await soon(storage.close(), "close() again")
            with pytest.raises(StorageClosedError):
                await storage.get_interactions(place.name("ann"))

    @clause(LOOPS)
    async def test_closing_waits_for_what_is_in_flight(self, place: Place) -> None:
        """close() waits for what is in flight: calls that have begun end as if nobody had closed.

        Look at: connections closed under a running call, and queues that close() drops.
        """
        for n in range(5):
            agent = place.name(f"ann {n}")
            storage = await place.open()
            calls = [asyncio.ensure_future(storage.store_interaction(agent, {"n": i})) for i in range(30)]
            reads = [asyncio.ensure_future(storage.get_interactions(agent)) for _ in range(5)]
            for _ in range(n + 1):  # every call has begun
                await asyncio.sleep(0)
            await soon(storage.close(), "close() with calls in flight")
            ids = await soon(asyncio.gather(*calls), "the calls that were in flight")
            await soon(asyncio.gather(*reads), "the reads that were in flight")
            assert len(set(ids)) == 30
            assert await place.payloads(agent) == [{"n": i} for i in range(30)]

    @clause(LOOPS)
    async def test_closing_one_instance_leaves_the_others(self, place: Place) -> None:
        """Closing one storage leaves every other one at the same place open.

        Look at: connections or files that instances share.
        """
        agent, other = place.name("ann"), await place.second()
        third = await place.open()
        await third.store_interaction(agent, {"n": 1})
        await third.close()
        await place.storage.store_interaction(agent, {"n": 2})
        assert await other.get_interactions(agent) == [{"n": 1}, {"n": 2}]

    @clause(LOOPS)
    async def test_nothing_keeps_the_interpreter_from_exiting(self, setting: Setting) -> None:
        """Nothing keeps the interpreter from exiting: a process that never closes its storage ends, without an error.

        Look at: threads that are no daemons, and what runs at exit.
        """
        source = setting.plain_source
        async with setting.open() as place:
            async with worker(source, setting.options, "leave_open", agent=place.name("ann")) as leaving:
                assert await leaving.finish() == ["leaving"]
            if place.storage.durable:
                assert await place.payloads(place.name("ann")) == [{"n": 0}, {"n": 1}, {"n": 2}]

    @clause(LOOPS, Trait.MULTIPROCESS, STORAGE)
    async def test_a_forked_child_goes_on(self, place: Place) -> None:
        """Used in a forked child, a storage reopens by itself, while the parent goes on with its own.

        Look at: connections, locks and threads that parent and child share after fork(): the pid must be compared.
        """
        if not hasattr(os, "fork"):
            place.setting.does_not_apply("this platform cannot fork")
        agent, count = place.name("ann"), 20
        source, options = place.setting.plain_source, place.setting.options
        async with worker(source, options, "fork", agent=agent, count=count) as forking:
            assert await forking.finish() == [["child", 0]]
        stored = await place.payloads(agent)
        for by, expected in (
            ("before", 1),
            ("pending", 4),
            ("parent", count),
            ("child", count),
            ("after", 1),
        ):
            assert [one["n"] for one in stored if one["by"] == by] == list(range(expected)), (
                f"appends of {by!r}"
            )
        if place.has(Capability.HISTORY):
            log = await collect(place.storage.iter_interactions(agent))
            assert [one.sequence for one in log] == list(range(1, 2 * count + 7))


async def _use(storage: Storage, agent: str, n: int) -> None:
    """Write and read in a loop of its own."""
    calls = [storage.store_interaction(agent, {"n": 3 * n + i}) for i in range(3)]
    await soon(asyncio.gather(*calls), "appends in a new loop")
    await soon(storage.store_agent_state(agent, {"loop": n}), "a state in a new loop")
    assert await soon(storage.get_interactions(agent), "a read in a new loop") == [
        {"n": i} for i in range(3 * n + 3)
    ]
    assert await storage.get_agent_state(agent) == {"loop": n}


async def _close(storage: Storage) -> None:
    await soon(storage.close(), "close() in a new loop")
    with pytest.raises(StorageClosedError):
        await storage.get_interactions("ann")


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())
