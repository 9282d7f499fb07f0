"""Cancellation: a cancelled call has happened wholly or not at all, and the storage is usable afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, collect
from oacp_storage_core import Capability, Document, Interaction, Storage, StorageClosedError

CANCELLATION = ClauseName.CANCELLATION
WHEN = datetime(2024, 5, 1, 12, tzinfo=UTC)
ITERATIONS = 16
FRACTIONS = 10


@dataclass(frozen=True)
class _Cancelled:
    """A call that is cancelled, and the kinds of data by which its effect shows."""

    make: Callable[[Storage, str], Awaitable[Any]]
    needs: tuple[Capability, ...] = ()


WRITES = {
    "store_interaction": _Cancelled(lambda s, agent: s.store_interaction(agent, {"n": "new"})),
    "store_agent_state": _Cancelled(lambda s, agent: s.store_agent_state(agent, {"n": "new"})),
    "store_interaction, interaction_id": _Cancelled(
        lambda s, agent: s.store_interaction(agent, {"n": "new"}, interaction_id="given"),
        (Capability.IDEMPOTENT_APPEND,),
    ),
    "store_interactions": _Cancelled(
        lambda s, agent: s.store_interactions(agent, [{"n": "new"}] * 20), (Capability.BATCH_APPEND,)
    ),
    "record_turn": _Cancelled(
        lambda s, agent: s.record_turn(
            agent, interactions=[{"n": "new"}] * 3, state={"n": "new"}, learning={"a": {}, "k": {"n": "new"}}
        ),
        (Capability.TURN, Capability.LEARNING_DATA),
    ),
    "update_agent_state": _Cancelled(
        lambda s, agent: s.update_agent_state(agent, lambda _data: {"n": "new"}),
        (Capability.VERSIONED_STATE,),
    ),
    "delete_agent_state": _Cancelled(
        lambda s, agent: s.delete_agent_state(agent), (Capability.VERSIONED_STATE,)
    ),
    "store_learning_data": _Cancelled(
        lambda s, agent: s.store_learning_data(agent, "k", {"n": "new"}), (Capability.LEARNING_DATA,)
    ),
    "delete_learning_data": _Cancelled(
        lambda s, agent: s.delete_learning_data(agent, "k"), (Capability.LEARNING_DATA,)
    ),
    "delete_interactions": _Cancelled(
        lambda s, agent: s.delete_interactions(agent, keep_last=1), (Capability.RETENTION,)
    ),
    "delete_agent": _Cancelled(lambda s, agent: s.delete_agent(agent), (Capability.AGENTS,)),
    "import_records": _Cancelled(
        lambda s, agent: s.import_records(
            agent,
            interactions=[Interaction(agent, f"imported {n}", 100 + n, WHEN, {"n": "new"}) for n in range(3)],
            state=Document("", {"n": "new"}, 5, WHEN),
        ),
        (Capability.IMPORT,),
    ),
}

READS = {
    "get_interactions": _Cancelled(lambda s, agent: s.get_interactions(agent)),
    "get_agent_state": _Cancelled(lambda s, agent: s.get_agent_state(agent)),
    "iter_interactions": _Cancelled(
        lambda s, agent: collect(s.iter_interactions(agent)), (Capability.HISTORY,)
    ),
    "count_interactions": _Cancelled(lambda s, agent: s.count_interactions(agent), (Capability.HISTORY,)),
    "list_agents": _Cancelled(lambda s, _agent: s.list_agents(), (Capability.AGENTS,)),
}


class CancellationClause:
    """Cancelled at many points of its way, a call leaves the store whole."""

    @clause(CANCELLATION, cases=WRITES)
    async def test_a_cancelled_write_is_whole_or_nothing(self, place: Place, case: _Cancelled) -> None:
        """A cancelled call has happened wholly or not at all, and the storage is usable afterwards.

        The call is cancelled after some iterations of the event loop, and after some fractions of the time it takes.

        Look at: awaits between the steps of a write, what runs on in a thread or a transaction after the
        cancellation, and locks and connections that nobody gives back.
        """
        control = place.name("control")
        await _prepare(place, control)
        nothing = await _look(place, control)
        began = perf_counter()
        await case.make(place.storage, control)
        duration = perf_counter() - began
        await place.storage.store_interaction(control, {"n": "fence"})
        whole = await _look(place, control)
        cancelled = 0
        async for n, wait in _moments(duration):
            agent = place.name(f"ann {n}")
            await _prepare(place, agent)
            call = asyncio.ensure_future(case.make(place.storage, agent))
            await wait()
            cancelled += call.cancel()
            await asyncio.wait([call])
            # An append for the same agent commits after the cancelled call: then its fate is settled.
            await soon(
                place.storage.store_interaction(agent, {"n": "fence"}), "an append after a cancelled call"
            )
            seen = await _look(place, agent)
            if call.cancelled():
                assert seen in (nothing, whole), f"moment {n}: half of a cancelled call: {seen}"
            else:
                call.result()
                assert seen == whole, f"moment {n}: the call returned, but not all of it is there: {seen}"
        assert cancelled, "no call could be cancelled: nothing was shown"

    @clause(CANCELLATION, cases=READS)
    async def test_a_cancelled_read_leaves_the_storage_usable(self, place: Place, case: _Cancelled) -> None:
        """After a cancelled read the storage is usable, and nothing is changed.

        Look at: cursors, transactions and locks that a cancelled read does not give back.
        """
        agent = place.name("ann")
        await _prepare(place, agent)
        await place.fill(agent, 300)
        before = await _look(place, agent)
        began = perf_counter()
        await case.make(place.storage, agent)
        async for _, wait in _moments(perf_counter() - began):
            call = asyncio.ensure_future(case.make(place.storage, agent))
            await wait()
            call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                call.result()
        await soon(case.make(place.storage, agent), "a read after cancelled ones")
        assert await _look(place, agent) == before
        await soon(place.storage.store_interaction(agent, {"n": "after"}), "an append after cancelled reads")

    @clause(CANCELLATION)
    async def test_cancelling_some_of_many_calls_spares_the_others(self, place: Place) -> None:
        """Of many calls at once, cancelling some has no effect on the others: each is stored once, in call order.

        Look at: group commits whose waiting callers share one fate, and queues that skip or repeat.
        """
        for round_ in range(8):
            agent = place.name(f"ann {round_}")
            calls = [
                asyncio.ensure_future(place.storage.store_interaction(agent, {"n": n})) for n in range(40)
            ]
            for n in range(0, 40, 3):
                if n % 2:
                    await asyncio.sleep(0)
                calls[n].cancel()
                if n == 18:
                    for _ in range(round_ * 2):
                        await asyncio.sleep(0)
            await soon(asyncio.wait(calls), "the end of all calls")
            done = [n for n, call in enumerate(calls) if not call.cancelled() and call.result()]
            assert set(range(40)) - set(range(0, 40, 3)) <= set(done)
            stored = [one["n"] for one in await place.payloads(agent)]
            assert stored == sorted(set(stored)), f"out of order or doubled: {stored}"
            assert set(done) <= set(stored), (
                f"acknowledged, but not stored: {sorted(set(done) - set(stored))}"
            )

    @clause(CANCELLATION)
    async def test_a_cancelled_open_may_be_tried_again(self, place: Place) -> None:
        """When open() or the first call is cancelled, the storage can be used afterwards as if nothing had been.

        Look at: a half-open state that the next call takes for open or closed.
        """
        agent = place.name("ann")
        for n in range(12):
            storage = place.build()
            first = asyncio.ensure_future(storage.open() if n % 2 else storage.get_interactions(agent))
            for _ in range(n // 2):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            await soon(storage.store_interaction(agent, {"n": n}), "an append after a cancelled open()")
            assert (
                len(await soon(storage.get_interactions(agent), "a read after a cancelled open()")) == n + 1
            )
            await soon(storage.close(), "close() after a cancelled open()")

    @clause(CANCELLATION)
    async def test_a_cancelled_close_may_be_tried_again(self, place: Place) -> None:
        """When close() is cancelled, close() again closes, and nothing acknowledged is lost.

        Look at: a half-closed state in which the second close() returns at once or waits for ever.
        """
        agent = place.name("ann")
        for n in range(10):
            storage = await place.open()
            append = asyncio.ensure_future(storage.store_interaction(agent, {"n": n}))
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(storage.close())
            for _ in range(n):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            await soon(storage.close(), "close() after a cancelled close()")
            await soon(append, "the append that was in flight")
            with pytest.raises(StorageClosedError):
                await storage.get_interactions(agent)
        assert await place.payloads(agent) == [{"n": n} for n in range(10)]


async def _prepare(place: Place, agent: str) -> None:
    await place.fill(agent, 3)
    await place.storage.store_agent_state(agent, {"n": "old"})
    if place.has(Capability.LEARNING_DATA):
        await place.storage.store_learning_data(agent, "k", {"n": "old"})


async def _look(place: Place, agent: str) -> Any:
    """What the second instance sees of the agent, without names that differ and without the fence."""
    other = await place.second()
    payloads = [one for one in await other.get_interactions(agent, 1000) if one != {"n": "fence"}]
    learning = None
    if place.has(Capability.LEARNING_DATA):
        learning = [(doc.key, doc.version, doc.data) for doc in await other.list_learning_data(agent)]
    if place.has(Capability.VERSIONED_STATE):
        document = await other.get_agent_state_document(agent)
        return payloads, learning, None if document is None else (document.version, document.data)
    return payloads, learning, await other.get_agent_state(agent)


async def _moments(duration: float) -> AsyncIterator[tuple[int, Callable[[], Awaitable[None]]]]:
    """Waits until a cancellation: 0, 1, 2 ... iterations of the event loop, then fractions of ``duration``."""

    async def iterations(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    for n in range(ITERATIONS):
        yield n, lambda n=n: iterations(n)  # type: ignore[misc]  # mypy does not infer lambdas with defaults
    for n in range(1, FRACTIONS + 1):
        yield ITERATIONS + n, lambda n=n: asyncio.sleep(n * duration / FRACTIONS)  # type: ignore[misc]  # as above
