"""Outcome unknown: connections that are lost in the middle, and servers that are away."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, Trait, clause
from oacp_storage_conformance.load import until_stored
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_conformance.setting import tampered
from oacp_storage_core import (
    Capability,
    OutcomeUnknownError,
    Storage,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
)

OUTCOME, HEALTH, ERRORS = ClauseName.OUTCOME, ClauseName.HEALTH, ClauseName.ERRORS
NETWORK = Trait.NETWORK


class OutagesClause:
    """What a network may do to a storage."""

    @clause(OUTCOME, NETWORK, Capability.HISTORY, tamper=True)
    async def test_lost_connections_lose_and_double_nothing(self, place: Place) -> None:
        """A connection lost in the middle of a write does not mean it failed: each append happens exactly once.

        An append that raises OutcomeUnknownError is there once or not at all, any other error means that it is not.

        Look at: what is sent again after a lost connection, under the same attempt id; and the receipts.
        """
        agent, writers, each = place.name("ann"), 12, 25
        fate: dict[tuple[int, int], BaseException | None] = {}

        async def write(by: int) -> None:
            for n in range(each):
                try:
                    await place.storage.store_interaction(agent, {"by": by, "n": n})
                    fate[by, n] = None
                except StorageError as exc:
                    fate[by, n] = exc

        async with _cutting(place):
            await soon(
                asyncio.gather(*(write(by) for by in range(writers))), "appends over lost connections", 100
            )
        await place.reopen()
        log = await place.log(agent)
        assert sequences(log) == list(range(1, len(log) + 1))
        stored = Counter((one.data["by"], one.data["n"]) for one in log)
        for append, error in fate.items():
            allowed = (1,) if error is None else (0, 1) if isinstance(error, OutcomeUnknownError) else (0,)
            assert stored[append] in allowed, (
                f"{append} ended with {error!r} and is stored {stored[append]} times"
            )
        for by in range(writers):
            order = [one.data["n"] for one in log if one.data["by"] == by]
            assert order == sorted(order), f"writer {by} is out of order: {order}"
        assert sum(error is None for error in fate.values()) >= writers, "hardly anything was acknowledged"

    @clause(OUTCOME, NETWORK, Capability.VERSIONED_STATE, tamper=True)
    async def test_lost_connections_count_no_increment_twice(self, place: Place) -> None:
        """A compare-and-set whose reply was lost is not a conflict with itself: each increment counts exactly once.

        Look at: a write that is sent again and finds its own version.
        """
        agent, counted, unknown = place.name("ann"), 0, 0
        async with _cutting(place):
            for _ in range(60):
                try:
                    await soon(place.storage.update_agent_state(agent, _increment), "an update", 60)
                    counted += 1
                except OutcomeUnknownError:
                    unknown += 1
                except StorageError:
                    continue
        await place.reopen()
        state = await place.storage.get_agent_state(agent) or {"n": 0}
        assert counted, "nothing was acknowledged"
        assert counted <= state["n"] <= counted + unknown

    @clause(OUTCOME, NETWORK, Capability.RETENTION, Capability.AGENTS, tamper=True)
    async def test_lost_connections_repeat_no_deletion(self, place: Place) -> None:
        """Deletes included: a deletion that was sent again tells what it deleted, and deletes nothing that came later.

        Look at: the outcome in the receipt; a deletion that runs twice finds nothing and returns 0.
        """
        rounds, told = 20, 0
        async with _cutting(place):
            for n in range(rounds):
                agent = place.name(f"ann {n}")
                for i in range(4):
                    await until_stored(place.storage, agent, i)
                try:
                    assert (
                        await soon(
                            place.storage.delete_interactions(agent, ids=["id 1", "id 2"]), "a deletion", 60
                        )
                        == 2
                    )
                    assert (await soon(place.storage.delete_agent(agent), "a deletion", 60)).interactions == 2
                    told += 1
                except StorageError:
                    continue
                await until_stored(place.storage, agent, 9)
                assert await _until_read(place.storage, agent) == [{"n": 9}]
        assert told, "nothing was acknowledged"

    @clause(HEALTH, NETWORK, tamper=True)
    async def test_an_absent_server_is_not_ok(self, place: Place) -> None:
        """While the server is away health() gives ok=False with the reason, and calls raise a StorageError in time.

        Look at: timeouts that are not set, and driver's exceptions that get through.
        """
        agent = place.name("ann")
        await place.fill(agent, 2)
        tampered(place.setting, "stop_server")
        try:
            calls = (
                place.storage.get_interactions(agent),
                place.storage.store_interaction(agent, {"n": "lost"}),
            )
            ending = asyncio.gather(*calls, return_exceptions=True)
            health = await soon(place.storage.health(), "health() of an absent server")
            assert health.ok is False
            assert health.error
            assert health.latency is None
            for error in await soon(ending, "the errors of calls to an absent server", 100):
                assert isinstance(
                    error, StorageConnectionError | StorageTimeoutError | OutcomeUnknownError
                ), f"a call to an absent server ended in {error!r}"
        finally:
            tampered(place.setting, "start_server")
        assert (await _again(place)).ok is True
        stored = await place.payloads(agent)
        assert stored[:2] == [{"n": 1}, {"n": 2}]
        assert len(stored) <= 3

    @clause(ERRORS, NETWORK, tamper=True)
    async def test_opening_without_a_server_is_an_error_with_advice(self, place: Place) -> None:
        """open() without a server raises a StorageError that says what to do, with the driver's error as its cause.

        Look at: driver's exceptions that get through, and errors raised without `from`.
        """
        storage = place.build()
        tampered(place.setting, "stop_server")
        try:
            with pytest.raises((StorageConnectionError, StorageTimeoutError)) as caught:
                await soon(storage.open(), "the error of open()", 100)
            assert caught.value.__cause__ is not None
            assert len(str(caught.value).split()) >= 4
        finally:
            tampered(place.setting, "start_server")
        await _again(place)
        await soon(storage.open(), "open() once the server is back")

    @clause(OUTCOME, NETWORK, Capability.WATCH, tamper=True)
    async def test_watching_survives_lost_connections(self, place: Place) -> None:
        """Reconnects lose nothing: a watcher gets every interaction once and in order, whatever its connection does.

        Look at: signals that are missed while the connection is down; delivery is a read by sequence.
        """
        agent, count = place.name("ann"), 40
        records = place.storage.watch_interactions(agent, after=0)
        found: list[Any] = []

        async def watch() -> None:
            while len(found) < count:
                found.append(await anext(records))

        watching = asyncio.ensure_future(watch())
        writer = await place.second()
        for n in range(count):
            if n % 5 == 2:
                tampered(place.setting, "cut_connections")
            await until_stored(writer, agent, n)
        await soon(watching, "all interactions", 60)
        assert sequences(found) == list(range(1, count + 1))


@asynccontextmanager
async def _cutting(place: Place) -> AsyncIterator[None]:
    """Connections are cut again and again, at random moments, while the block runs."""
    dice = random.Random(place.setting.seed)  # noqa: S311 - no secret
    enough = asyncio.Event()

    async def cut() -> None:
        while not enough.is_set():
            await asyncio.sleep(dice.uniform(0.001, 0.02))
            await asyncio.to_thread(tampered, place.setting, "cut_connections")

    tampered(place.setting, "cut_connections")  # where the tamper cannot do that, the test ends here
    cutting = asyncio.ensure_future(cut())
    try:
        yield
    finally:
        enough.set()  # not cancelled: its thread would go on, and cut what comes after the block
        await cutting


async def _until_read(storage: Storage, agent: str) -> list[dict[str, Any]]:
    """The agent's interactions, as soon as they can be read."""
    while True:
        try:
            return await storage.get_interactions(agent)
        except StorageError:
            continue


def _increment(data: dict[str, Any] | None) -> dict[str, Any]:
    return {"n": (data or {"n": 0})["n"] + 1}


async def _again(place: Place) -> Any:
    """The health, once the storage has found its server again."""
    async with asyncio.timeout(60):
        while not (health := await place.storage.health()).ok:  # noqa: ASYNC110 - asking is the only way
            await asyncio.sleep(0.05)
        return health
