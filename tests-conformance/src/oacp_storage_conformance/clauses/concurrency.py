"""Concurrency: any number of tasks, any number of instances and processes on the same store."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from oacp_storage_conformance.clause import ClauseName, Trait, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_conformance.setting import Setting
from oacp_storage_conformance.soaking import soak
from oacp_storage_conformance.sources import from_plain
from oacp_storage_conformance.workers import worker
from oacp_storage_core import Capability

CONCURRENCY, ORDER, VERSIONS, WATCHING = (
    ClauseName.CONCURRENCY,
    ClauseName.ORDER,
    ClauseName.VERSIONS,
    ClauseName.WATCH,
)
MULTIPROCESS = Trait.MULTIPROCESS


class ConcurrencyClause:
    """Many at once."""

    @clause(CONCURRENCY)
    async def test_many_tasks_write_at_once(self, place: Place) -> None:
        """Any number of tasks may use a storage at once: nothing is lost, doubled or mixed up.

        Look at: state that calls share while they await.
        """
        agents = [place.name(f"agent {n}") for n in range(10)]

        async def work(task: int) -> None:
            agent = agents[task % 10]
            for n in range(4):
                await place.storage.store_interaction(agent, {"task": task, "n": n})
                await place.storage.store_agent_state(agent, {"of": agent, "task": task})
                assert (await place.storage.get_agent_state(agent) or {})["of"] == agent
                mine = [
                    one["n"] for one in await place.storage.get_interactions(agent) if one["task"] == task
                ]
                assert mine == list(range(n + 1))

        await soon(asyncio.gather(*(work(task) for task in range(100))), "100 tasks at once", 100)
        for agent in agents:
            stored = await place.payloads(agent)
            assert len(stored) == 40
            for task in {one["task"] for one in stored}:
                assert [one["n"] for one in stored if one["task"] == task] == [0, 1, 2, 3]

    @clause(CONCURRENCY, Capability.HISTORY)
    async def test_several_instances_write_at_once(self, place: Place) -> None:
        """Several storages at one place append to the same agents at once: gap-free, and each in its own order.

        Look at: counters kept in memory of one instance.
        """
        agents = [place.name("ann"), place.name("bob")]
        storages = [place.storage, await place.second(), await place.open(), await place.open()]

        async def work(by: int) -> None:
            for n in range(25):
                await asyncio.gather(
                    *(storages[by].store_interaction(agent, {"by": by, "n": n}) for agent in agents)
                )

        await soon(asyncio.gather(*(work(by) for by in range(4))), "appends by four storages at once")
        for agent in agents:
            log = await place.log(agent)
            assert sequences(log) == list(range(1, 101))
            for by in range(4):
                assert [one.data["n"] for one in log if one.data["by"] == by] == list(range(25))

    @clause(CONCURRENCY, Capability.HISTORY)
    async def test_readers_see_a_growing_log_without_gaps(self, place: Place) -> None:
        """Whoever reads while others write sees the log up to some sequence, without gaps, and never less than before.

        Look at: sequences that are given before the commit, so that a later one can be seen first.
        """
        agent, other, count = place.name("ann"), await place.second(), 120
        storages = (place.storage, await place.open())
        ended = asyncio.Event()

        async def write(by: int) -> None:
            for n in range(count // 4):
                await storages[by % 2].store_interaction(agent, {"by": by, "n": n})

        async def read() -> None:
            seen = 0
            while not ended.is_set():
                found = sequences([one async for one in other.iter_interactions(agent)])
                assert found == list(range(1, len(found) + 1)), f"a gap was seen: {found}"
                assert len(found) >= seen, "the log got shorter"
                seen = len(found)
                await asyncio.sleep(0)

        reading = asyncio.ensure_future(read())
        await asyncio.gather(*(write(by) for by in range(4)))
        ended.set()
        await soon(reading, "the reader")

    # --- processes ----------------------------------------------------------------------------------------

    @clause(CONCURRENCY, MULTIPROCESS, seconds=600)
    async def test_many_processes_append_at_once(self, place: Place) -> None:
        """Any number of processes append to the same agents at once: gap-free, nothing lost, doubled or out of order.

        Two of four processes are killed on the way. `--oacp-storage-seconds` makes it longer.

        Look at: what guards a sequence between processes, and what a killed process leaves locked or half written.
        """
        setting = place.setting
        report = await soak(
            from_plain(setting.plain_source),
            processes=4,
            tasks=16,
            seconds=setting.seconds,
            kill=2,
            seed=setting.seed,
            base=place.name("soak "),
            options=setting.options,
        )
        assert report.acknowledged > 0, "no process got anything acknowledged"

    @clause(CONCURRENCY, MULTIPROCESS, Capability.HISTORY)
    async def test_instances_come_and_go_in_many_processes(self, place: Place) -> None:
        """Storages may be opened and closed at any time, in any process, while others at the same place write on.

        Look at: locks that belong to the process. Closing any descriptor of a file gives up all POSIX locks that
        the process has on it, those of other connections too: a database file must never be opened on the side.
        """
        agent, setting, rounds = place.name("ann"), place.setting, 40
        await place.close_all()
        async with AsyncExitStack() as stack:
            workers = []
            for by, stay in enumerate((True, True, False)):
                arguments: dict[str, Any] = {"agent": agent, "by": by, "rounds": rounds, "stay": stay}
                one = worker(setting.plain_source, setting.options, "come_and_go", **arguments)
                workers.append(await stack.enter_async_context(one))
            for started in workers:
                assert await started.finish() == [rounds]
        await place.reopen()
        log = await place.log(agent)
        assert sequences(log) == list(range(1, 5 * rounds + 1))
        for by, order in enumerate((range(2 * rounds), range(2 * rounds), range(1, 2 * rounds, 2))):
            assert [one.data["n"] for one in log if one.data["by"] == by] == list(order)
        if place.has(Capability.VERIFY):
            assert [damage async for damage in place.storage.verify()] == []

    @clause(ORDER, MULTIPROCESS, Capability.HISTORY)
    async def test_skewed_clocks_change_no_order(self, place: Place) -> None:
        """The order of a log is the order of commit, also across processes whose clocks are a day apart.

        Look at: sorting by timestamp, or by ids that begin with one (UUIDv7, ULID, ObjectId).
        """
        agent, setting, day = place.name("ann"), place.setting, 86_400
        for n, skew in enumerate((day, -day, 0, -3600)):
            arguments = {"agent": agent, "payload": {"n": n}}
            async with worker(
                setting.plain_source, setting.options, "append_one", skew_seconds=skew, **arguments
            ) as one:
                await one.finish()
        log = await place.log(agent)
        assert [one.data["n"] for one in log] == [0, 1, 2, 3]
        assert log[0].timestamp > log[2].timestamp > log[1].timestamp, (
            "the clients' clocks give the timestamps"
        )
        assert await place.payloads(agent, 2) == [{"n": 2}, {"n": 3}]

    @clause(VERSIONS, MULTIPROCESS, Capability.VERSIONED_STATE)
    async def test_increments_by_many_processes_all_count(self, place: Place) -> None:
        """Increments of one document by four processes at once, by compare-and-set, all count.

        Look at: whether the comparison and the write are one step for other processes too.
        """
        agent, setting, count = place.name("ann"), place.setting, 15
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    worker(setting.plain_source, setting.options, "increment", agent=agent, count=count)
                )
                for _ in range(4)
            ]
            for one in workers:
                assert await one.finish() == [count]
        document = await place.storage.get_agent_state_document(agent)
        assert document is not None
        assert (document.version, document.data) == (4 * count, {"n": 4 * count})

    @clause(CONCURRENCY, MULTIPROCESS)
    async def test_many_processes_open_a_new_place_at_once(self, setting: Setting) -> None:
        """Many processes may open a place at once that none has opened before, and use it.

        Look at: creation of tables, directories and indexes, which two processes may begin at the same time.
        """
        agent, count = setting.name("ann"), 6
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    worker(
                        setting.plain_source, setting.options, "append_one", agent=agent, payload={"by": by}
                    )
                )
                for by in range(count)
            ]
            for one in workers:
                assert len(await one.finish()) == 1
        async with setting.open() as place:
            assert sorted(one["by"] for one in await place.payloads(agent)) == list(range(count))

    @clause(WATCHING, MULTIPROCESS, Capability.WATCH)
    async def test_watching_across_processes(self, place: Place) -> None:
        """What one process appends arrives at a watcher in another, in order, nothing skipped or repeated.

        Look at: the signal between processes, or the polling in its place.
        """
        agent, setting, count = place.name("ann"), place.setting, 40
        async with worker(
            setting.plain_source, setting.options, "watch", agent=agent, count=count
        ) as watching:
            await watching.opened()
            for n in range(count):
                await place.storage.store_interaction(agent, {"n": n, "at": time.time_ns()})
                if n >= count // 2:  # one by one: each has to be signalled by itself
                    while len(watching.said) < n + 1:
                        await watching.hear()
            heard = await watching.finish()
        assert [sequence for sequence, _ in heard] == list(range(1, count + 1))
        late = max(age for _, age in heard[count // 2 :]) / 1e9
        assert late < 5, f"the slowest interaction took {late:.2f} s to arrive"
