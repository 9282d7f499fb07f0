"""``MemoryStorage``: appending, idempotency, batches, reading, history."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from oacp_storage_core import (
    DuplicateIdError,
    Interaction,
    InvalidKeyError,
    InvalidPayloadError,
    MemoryStorage,
    PayloadTooLargeError,
)
from oacp_storage_core.payload import MAX_CALL_INTERACTIONS

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAIVE = datetime(2026, 1, 2)  # noqa: DTZ001 - to be refused
REAL_TRAFFIC = Path(__file__).parents[4] / "shared" / "data" / "interactions.jsonl.gz"


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    async with MemoryStorage() as storage:
        yield storage


async def history(storage: MemoryStorage, agent_id: str = "a", **query: Any) -> list[Any]:
    """The ``n`` of each interaction that the query yields."""
    return [one.data["n"] async for one in storage.iter_interactions(agent_id, **query)]


async def fill(storage: MemoryStorage, count: int, agent_id: str = "a") -> None:
    """Interactions with ``n`` from 1 to ``count``, one second apart."""
    records = [
        Interaction(agent_id, f"id-{n}", 0, NOW + timedelta(seconds=n), {"n": n}) for n in range(1, count + 1)
    ]
    await storage.store_interactions(agent_id, records)


# --- order and sequences ---------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_sequences_are_1_2_3_per_agent(storage: MemoryStorage) -> None:
    for n in range(3):
        await storage.store_interaction("a", {"n": n})
        await storage.store_interaction("b", {"n": n})
    for agent_id in "ab":
        found = [one async for one in storage.iter_interactions(agent_id)]
        assert [(one.agent_id, one.sequence, one.data) for one in found] == [
            (agent_id, n + 1, {"n": n}) for n in range(3)
        ]


@pytest.mark.asyncio
async def test_calls_commit_in_call_order(storage: MemoryStorage) -> None:
    await asyncio.gather(*(storage.store_interaction("a", {"n": n}) for n in range(100)))
    assert await history(storage) == list(range(100))


@pytest.mark.asyncio
async def test_order_is_that_of_commits_whatever_the_times_say(storage: MemoryStorage) -> None:
    for n, days in enumerate((3, -5, 0)):
        await storage.store_interaction("a", {"n": n}, timestamp=NOW + timedelta(days=days))
    assert await history(storage) == [0, 1, 2]
    assert [one["n"] for one in await storage.get_interactions("a")] == [0, 1, 2]


@pytest.mark.asyncio
async def test_get_interactions_returns_the_newest_oldest_first(storage: MemoryStorage) -> None:
    assert await storage.get_interactions("a") == []
    await fill(storage, 120)
    assert [one["n"] for one in await storage.get_interactions("a", 3)] == [118, 119, 120]
    assert [one["n"] for one in await storage.get_interactions("a")] == list(range(21, 121))
    assert len(await storage.get_interactions("a", limit=10**30)) == 120
    assert await storage.get_interactions("a", 0) == []
    with pytest.raises(ValueError, match="limit must not be negative"):
        await storage.get_interactions("a", -1)


@pytest.mark.asyncio
async def test_other_tasks_get_their_turn(storage: MemoryStorage) -> None:
    """A task that only calls the storage must not starve the others, or tests on memory hang."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    for _ in range(100):
        if done.is_set():
            break
        await storage.store_interaction("a", {})
    assert done.is_set()
    done.clear()
    asyncio.get_running_loop().call_soon(done.set)
    await fill(storage, 500, "b")
    done.clear()
    asyncio.get_running_loop().call_soon(done.set)
    async for _ in storage.iter_interactions("b"):
        if done.is_set():
            break
    assert done.is_set()


# --- what comes back -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_nothing_is_shared_with_the_caller(storage: MemoryStorage) -> None:
    given: dict[str, Any] = {"list": [1], "n": 1}
    stored = await storage.store_interaction("a", given)
    given["list"].append(2)
    for _ in range(2):
        interactions = await storage.get_interactions("a")
        found = await storage.get_interaction("a", stored)
        assert found is not None
        streamed = await anext(aiter(storage.iter_interactions("a")))
        for data in (interactions[0], found.data, streamed.data):
            assert data == {"list": [1], "n": 1}
            data["list"].append(99)


@pytest.mark.asyncio
async def test_records_carry_id_sequence_and_time(storage: MemoryStorage) -> None:
    elsewhere = NOW.astimezone().replace(microsecond=7)
    await storage.store_interaction("a", {"n": 1}, interaction_id="x", timestamp=elsewhere)
    found = await storage.get_interaction("a", "x")
    assert found == Interaction("a", "x", 1, elsewhere, {"n": 1})
    assert found.timestamp.tzinfo is UTC


@pytest.mark.asyncio
async def test_the_time_is_the_clock_when_none_is_given(storage: MemoryStorage) -> None:
    before = datetime.now(UTC)
    stored = await storage.store_interaction("a", {})
    found = await storage.get_interaction("a", stored)
    assert found is not None
    assert before <= found.timestamp <= datetime.now(UTC)


@pytest.mark.asyncio
async def test_get_interaction_knows_the_ids_of_its_agent_only(storage: MemoryStorage) -> None:
    await storage.store_interaction("a", {}, interaction_id="x")
    assert await storage.get_interaction("a", "y") is None
    assert await storage.get_interaction("b", "x") is None


# --- idempotency -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_same_id_again_changes_nothing(storage: MemoryStorage) -> None:
    for days in range(3):
        moment = NOW + timedelta(days=days)
        stored = await storage.store_interaction("a", {"n": 1}, interaction_id="x", timestamp=moment)
        assert stored == "x"
    found = [one async for one in storage.iter_interactions("a")]
    assert found == [Interaction("a", "x", 1, NOW, {"n": 1})]
    await storage.store_interaction("a", {"n": 2})
    assert [one.sequence async for one in storage.iter_interactions("a")] == [1, 2]


@pytest.mark.parametrize(
    "other", [{"n": 2}, {"n": 1.0}, {"n": True}, {"n": 1, "m": 2}, {"m": 2, "n": 1}, {}], ids=str
)
@pytest.mark.asyncio
async def test_the_same_id_with_another_payload_is_refused(
    storage: MemoryStorage, other: dict[str, Any]
) -> None:
    original = {"n": 1, "m": 2} if len(other) == 2 and next(iter(other)) == "m" else {"n": 1}
    await storage.store_interaction("a", original, interaction_id="x")
    with pytest.raises(
        DuplicateIdError, match="agent 'a': 'x' is the id of an interaction with another payload"
    ):
        await storage.store_interaction("a", other, interaction_id="x")
    assert await storage.get_interactions("a") == [original]


@pytest.mark.asyncio
async def test_ids_belong_to_their_agent(storage: MemoryStorage) -> None:
    await storage.store_interaction("a", {"n": 1}, interaction_id="x")
    await storage.store_interaction("b", {"n": 2}, interaction_id="x")
    assert await history(storage, "a") == [1]
    assert await history(storage, "b") == [2]


# --- batches ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_batch_keeps_order_and_the_ids_of_records(storage: MemoryStorage) -> None:
    record = Interaction("a", "given", 77, NOW, {"n": 2})
    ids = await storage.store_interactions("a", [{"n": 1}, record, {"n": 3}])
    assert ids[1] == "given"
    found = [one async for one in storage.iter_interactions("a")]
    assert [one.id for one in found] == ids
    assert [(one.sequence, one.data["n"]) for one in found] == [(1, 1), (2, 2), (3, 3)]
    assert found[1].timestamp == NOW


@pytest.mark.asyncio
async def test_each_interaction_of_a_batch_is_idempotent_by_itself(storage: MemoryStorage) -> None:
    one, two, three = (Interaction("a", f"id-{n}", 0, NOW, {"n": n}) for n in (1, 2, 3))
    await storage.store_interactions("a", [two])
    assert await storage.store_interactions("a", [one, two, three, one]) == ["id-1", "id-2", "id-3", "id-1"]
    assert await history(storage) == [2, 1, 3]
    assert await storage.store_interactions("a", [one, two, three]) == ["id-1", "id-2", "id-3"]
    assert await history(storage) == [2, 1, 3]


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ({"x": ()}, InvalidPayloadError),
        (Interaction("a", "known", 0, NOW, {"other": 1}), DuplicateIdError),
        (Interaction("a", "first", 0, NOW, {"other": 1}), DuplicateIdError),
        (Interaction("b", "i", 0, NOW, {}), ValueError),
    ],
    ids=["payload", "id that exists", "id given twice", "agent"],
)
@pytest.mark.asyncio
async def test_a_batch_is_all_or_nothing(storage: MemoryStorage, last: Any, error: type[Exception]) -> None:
    await storage.store_interaction("a", {"n": 0}, interaction_id="known")
    with pytest.raises(error):
        await storage.store_interactions("a", [Interaction("a", "first", 0, NOW, {"n": 1}), {"n": 2}, last])
    assert await history(storage) == [0]
    await storage.store_interaction("a", {"n": 3})
    assert [one.sequence async for one in storage.iter_interactions("a")] == [1, 2], "no sequence was used up"


@pytest.mark.asyncio
async def test_an_empty_batch_writes_nothing(storage: MemoryStorage) -> None:
    assert await storage.store_interactions("a", []) == []
    assert await storage.list_agents() == []


@pytest.mark.asyncio
async def test_a_batch_has_limits(storage: MemoryStorage) -> None:
    with pytest.raises(PayloadTooLargeError):
        await storage.store_interactions("a", [{}] * (MAX_CALL_INTERACTIONS + 1))
    with pytest.raises(PayloadTooLargeError):
        await storage.store_interactions("a", [{"x": "y" * 12_000_000}] * 3)
    assert await storage.list_agents() == []
    await storage.store_interactions("a", [{}] * MAX_CALL_INTERACTIONS)
    assert await storage.count_interactions("a") == MAX_CALL_INTERACTIONS


# --- history ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_bounds_are_exclusive_in_both_directions(storage: MemoryStorage) -> None:
    await fill(storage, 6)
    queries: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"after": 2}, [3, 4, 5, 6]),
        ({"before": 5}, [1, 2, 3, 4]),
        ({"after": 2, "before": 5}, [3, 4]),
        ({"after": 2, "before": 3}, []),
        ({"after": 5, "before": 2}, []),
        ({"after": 6}, []),
        ({"after": 99}, []),
        ({"before": 0}, []),
        ({"before": 1}, []),
        ({"before": 99}, [1, 2, 3, 4, 5, 6]),
    ]
    for query, expected in queries:
        assert await history(storage, **query) == expected
        assert await history(storage, **query, reverse=True) == expected[::-1]
        assert await storage.count_interactions("a", **query) == len(expected)


@pytest.mark.asyncio
async def test_since_is_inclusive_and_until_exclusive(storage: MemoryStorage) -> None:
    await fill(storage, 6)
    at = {n: NOW + timedelta(seconds=n) for n in range(8)}
    queries: list[tuple[dict[str, Any], list[int]]] = [
        ({"since": at[3]}, [3, 4, 5, 6]),
        ({"until": at[3]}, [1, 2]),
        ({"since": at[2], "until": at[4]}, [2, 3]),
        ({"since": at[2] + timedelta(microseconds=1)}, [3, 4, 5, 6]),
        ({"until": at[2] + timedelta(microseconds=1)}, [1, 2]),
        ({"since": at[4], "until": at[4]}, []),
        ({"since": at[2], "after": 3, "until": at[6], "before": 99}, [4, 5]),
    ]
    for query, expected in queries:
        assert await history(storage, **query) == expected
        assert await history(storage, **query, reverse=True) == expected[::-1]
        assert await storage.count_interactions("a", **query) == len(expected)


@pytest.mark.asyncio
async def test_limit_comes_after_all_conditions(storage: MemoryStorage) -> None:
    await fill(storage, 10)
    where = {"n": {"$gt": 3}}
    assert await history(storage, where=where, limit=2) == [4, 5]
    assert await history(storage, where=where, limit=2, reverse=True) == [10, 9]
    assert await history(storage, where=where, limit=0) == []
    assert await history(storage, where=where, limit=99) == [4, 5, 6, 7, 8, 9, 10]
    assert await history(storage, where={"n": {"$in": [2, 9]}}, limit=1, reverse=True) == [9]
    assert await storage.count_interactions("a", where=where) == 7
    assert await storage.count_interactions("a", where={"m": 1}) == 0


@pytest.mark.asyncio
async def test_history_ends_at_the_head_of_its_first_step(storage: MemoryStorage) -> None:
    await fill(storage, 3)
    stream = storage.iter_interactions("a")
    await storage.store_interaction("a", {"n": 4})
    seen = []
    async for one in stream:
        seen.append(one.data["n"])
        await storage.store_interaction("a", {"n": one.data["n"] + 100})
    assert seen == [1, 2, 3, 4]
    with pytest.raises(StopAsyncIteration):
        await anext(aiter(stream))


@pytest.mark.asyncio
async def test_history_goes_on_over_what_is_deleted_meanwhile(storage: MemoryStorage) -> None:
    await fill(storage, 6)
    for reverse, expected in ((False, [1, 4, 5, 6]), (True, [6, 5, 4])):
        stream = aiter(storage.iter_interactions("a", reverse=reverse))
        seen = [(await anext(stream)).data["n"]]
        await storage.delete_interactions("a", ids=["id-1", "id-2", "id-3"])
        seen += [one.data["n"] async for one in stream]
        assert seen == expected


@pytest.mark.asyncio
async def test_history_of_an_unknown_agent_is_empty(storage: MemoryStorage) -> None:
    assert await history(storage, "nobody") == []
    assert await storage.count_interactions("nobody") == 0
    assert await storage.list_agents() == []


@pytest.mark.parametrize("arguments", [{"after": -1}, {"limit": -1}, {"since": NAIVE}, {"where": 1}], ids=str)
@pytest.mark.asyncio
async def test_wrong_conditions_are_refused_at_the_call(
    storage: MemoryStorage, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are in test_arguments.py
        storage.iter_interactions("a", **arguments)


# --- names -----------------------------------------------------------------------------------------------

CONFUSABLE = ["Bob", "bob", "BOB", "é", "e\u0301", " bob", "bob ", "b", "bo", "\u212b", "\u00c5"]


@pytest.mark.asyncio
async def test_names_are_exact(storage: MemoryStorage) -> None:
    for n, name in enumerate(CONFUSABLE):
        await storage.store_interaction(name, {"n": n}, interaction_id=name)
        await storage.store_interaction("ids", {"n": n}, interaction_id=name)
    for n, name in enumerate(CONFUSABLE):
        assert await history(storage, name) == [n]
        found = await storage.get_interaction("ids", name)
        assert found is not None
        assert found.data == {"n": n}
    assert await storage.list_agents() == sorted([*CONFUSABLE, "ids"])


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", "x" * 513, None, 1])
@pytest.mark.asyncio
async def test_other_names_are_refused_everywhere(storage: MemoryStorage, name: Any) -> None:
    with pytest.raises(InvalidKeyError):
        await storage.store_interaction(name, {})
    with pytest.raises(InvalidKeyError):
        await storage.store_interactions(name, [])
    with pytest.raises(InvalidKeyError):
        await storage.get_interactions(name)
    with pytest.raises(InvalidKeyError):
        storage.iter_interactions(name)
    with pytest.raises(InvalidKeyError):
        storage.watch_interactions(name)
    with pytest.raises(InvalidKeyError):
        await storage.count_interactions(name)
    with pytest.raises(InvalidKeyError):
        await storage.get_interaction("a", name)
    with pytest.raises(InvalidKeyError):
        await storage.get_interaction(name, "i")
    with pytest.raises(InvalidKeyError):
        await storage.delete_agent(name)
    if name is not None:
        with pytest.raises(InvalidKeyError):
            await storage.store_interaction("a", {}, interaction_id=name)
        with pytest.raises(InvalidKeyError):
            await storage.delete_interactions(name, keep_last=0)
    assert await storage.list_agents() == []


# --- real traffic ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_real_traffic_comes_back_equal(storage: MemoryStorage) -> None:
    if not REAL_TRAFFIC.exists():
        pytest.skip(f"the real agent traffic is not at {REAL_TRAFFIC}")
    expected: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(REAL_TRAFFIC, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            expected[entry["agent_id"]].append(entry["interaction"])
    for agent_id, interactions in expected.items():
        await storage.store_interactions(agent_id, interactions)
    assert await storage.list_agents(limit=10_000) == sorted(expected)
    for agent_id, interactions in expected.items():
        assert await storage.get_interactions(agent_id, 20_000) == interactions
