"""``MemoryStorage``: retention, deleting agents, namespaces, damage and health."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from oacp_storage_core import (
    ALL_CAPABILITIES,
    CorruptDataError,
    Damage,
    Deletion,
    DuplicateIdError,
    Health,
    Interaction,
    MemoryStorage,
)
from oacp_storage_core.memory_store import Namespace

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    async with MemoryStorage() as storage:
        yield storage


async def fill(storage: MemoryStorage, count: int, agent_id: str = "a") -> None:
    """Interactions ``id-1``, ``id-2`` ..., one day apart."""
    records = [
        Interaction(agent_id, f"id-{n}", 0, NOW + timedelta(days=n), {"n": n}) for n in range(1, count + 1)
    ]
    await storage.store_interactions(agent_id, records)


async def left(storage: MemoryStorage, agent_id: str = "a") -> list[int]:
    return [one.sequence async for one in storage.iter_interactions(agent_id)]


def stored(storage: MemoryStorage) -> Namespace:
    """What the storage keeps: a second way to it, to damage it."""
    data = vars(storage)["_data"]
    assert isinstance(data, Namespace)
    return data


# --- retention -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"ids": ["id-2", "id-5", "unknown"]}, [1, 3, 4, 6]),
        ({"ids": ["id-2", "id-2"]}, [1, 3, 4, 5, 6]),
        ({"ids": []}, [1, 2, 3, 4, 5, 6]),
        ({"before": NOW + timedelta(days=3)}, [3, 4, 5, 6]),
        ({"before": NOW + timedelta(days=3, microseconds=1)}, [4, 5, 6]),
        ({"before": NOW}, [1, 2, 3, 4, 5, 6]),
        ({"keep_last": 2}, [5, 6]),
        ({"keep_last": 0}, []),
        ({"keep_last": 6}, [1, 2, 3, 4, 5, 6]),
        ({"keep_last": 10**30}, [1, 2, 3, 4, 5, 6]),
        ({"before": NOW + timedelta(days=5), "keep_last": 4}, [3, 4, 5, 6]),
        ({"before": NOW + timedelta(days=2), "keep_last": 1}, [2, 3, 4, 5, 6]),
        ({"ids": ["id-1", "id-6"], "keep_last": 1}, [2, 3, 4, 5, 6]),
        ({"ids": ["id-1", "id-2"], "before": NOW + timedelta(days=2)}, [2, 3, 4, 5, 6]),
        ({"ids": ["id-1", "id-4"], "before": NOW + timedelta(days=9), "keep_last": 3}, [2, 3, 4, 5, 6]),
    ],
    ids=str,
)
@pytest.mark.asyncio
async def test_every_criterion_must_hold(
    storage: MemoryStorage, criteria: dict[str, Any], expected: list[int]
) -> None:
    await fill(storage, 6)
    gone = 6 - len(expected)
    assert await storage.delete_interactions("a", **criteria, dry_run=True) == gone
    assert await left(storage) == [1, 2, 3, 4, 5, 6], "a dry run deletes nothing"
    assert await storage.delete_interactions("a", **criteria) == gone
    assert await left(storage) == expected
    assert await storage.count_interactions("a") == len(expected)
    assert await storage.delete_interactions("a", **criteria) == 0, "repeating it changes nothing"


@pytest.mark.asyncio
async def test_keep_last_counts_what_exists(storage: MemoryStorage) -> None:
    await fill(storage, 6)
    await storage.delete_interactions("a", ids=["id-5", "id-6"])
    assert await storage.delete_interactions("a", keep_last=3) == 1
    assert await left(storage) == [2, 3, 4]


@pytest.mark.asyncio
async def test_what_remains_keeps_its_sequence_and_none_is_used_again(storage: MemoryStorage) -> None:
    await fill(storage, 3)
    await storage.delete_interactions("a", keep_last=0)
    assert await left(storage) == []
    await storage.store_interaction("a", {})
    assert await left(storage) == [4]
    await fill(storage, 1, "b")
    assert await left(storage, "b") == [1]


@pytest.mark.asyncio
async def test_an_id_lives_as_long_as_its_interaction(storage: MemoryStorage) -> None:
    await fill(storage, 2)
    with pytest.raises(DuplicateIdError):
        await storage.store_interaction("a", {"another": 1}, interaction_id="id-1")
    await storage.delete_interactions("a", ids=["id-1"])
    assert await storage.get_interaction("a", "id-1") is None
    await storage.store_interaction("a", {"another": 1}, interaction_id="id-1")
    found = await storage.get_interaction("a", "id-1")
    assert found is not None
    assert (found.sequence, found.data) == (3, {"another": 1})


@pytest.mark.asyncio
async def test_without_an_agent_it_is_for_all(storage: MemoryStorage) -> None:
    for count, agent_id in enumerate(("a", "b", "c")):
        await fill(storage, count * 2, agent_id)
    assert await storage.delete_interactions(keep_last=1, dry_run=True) == 4
    assert await storage.delete_interactions(keep_last=1) == 4
    assert [await left(storage, agent_id) for agent_id in "abc"] == [[], [2], [4]]
    assert await storage.delete_interactions(before=NOW + timedelta(days=3)) == 1
    assert [await left(storage, agent_id) for agent_id in "abc"] == [[], [], [4]]


@pytest.mark.asyncio
async def test_an_agent_stays_listed_whatever_retention_removed(storage: MemoryStorage) -> None:
    await fill(storage, 2)
    await storage.delete_interactions("a", keep_last=0)
    assert await storage.list_agents() == ["a"]
    await storage.store_agent_state("b", {})
    await storage.delete_agent_state("b")
    await storage.store_learning_data("c", "k", {})
    await storage.delete_learning_data("c", "k")
    assert await storage.list_agents() == ["a", "b", "c"]


@pytest.mark.asyncio
async def test_retention_leaves_documents(storage: MemoryStorage) -> None:
    await storage.record_turn("a", interactions=[{}], state={"n": 1}, learning={"k": {"n": 1}})
    assert await storage.delete_interactions(before=datetime.now(UTC) + timedelta(days=1)) == 1
    assert await storage.get_agent_state("a") == {"n": 1}
    assert await storage.get_learning_data("a", "k") == {"n": 1}


@pytest.mark.asyncio
async def test_retention_of_unknown_agents_is_nothing(storage: MemoryStorage) -> None:
    assert await storage.delete_interactions("nobody", keep_last=0) == 0
    assert await storage.delete_interactions("nobody", ids=["x"]) == 0
    assert await storage.list_agents() == []


@pytest.mark.parametrize(
    "arguments", [{}, {"agent_id": "a"}, {"ids": ["x"]}, {"agent_id": "a", "keep_last": -1}]
)
@pytest.mark.asyncio
async def test_other_retention_is_refused(storage: MemoryStorage, arguments: dict[str, Any]) -> None:
    await fill(storage, 1)
    with pytest.raises(ValueError):  # noqa: PT011 - the words are in test_arguments.py
        await storage.delete_interactions(**arguments)
    assert await left(storage) == [1]


# --- deleting agents -------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_delete_agent_removes_everything_and_counts_it(storage: MemoryStorage) -> None:
    await fill(storage, 3)
    await storage.record_turn("a", state={}, learning={"k": {}, "l": {}})
    await storage.record_turn("b", interactions=[{}], state={"n": 1}, learning={"k": {"n": 1}})
    await storage.store_system_state("a", {"n": 1})
    assert await storage.delete_agent("a") == Deletion("a", interactions=3, states=1, learning=2)
    assert await storage.list_agents() == ["b"]
    assert await storage.get_interactions("a") == []
    assert await storage.get_interaction("a", "id-1") is None
    assert await storage.count_interactions("a") == 0
    assert await storage.get_agent_state("a") is None
    assert await storage.list_learning_data("a") == []
    assert await storage.get_system_state("a") == {"n": 1}
    assert (await left(storage, "b"), await storage.get_agent_state("b")) == ([1], {"n": 1})
    assert await storage.delete_agent("a") == Deletion("a", 0, 0, 0)
    assert await storage.delete_agent("nobody") == Deletion("nobody", 0, 0, 0)


@pytest.mark.asyncio
async def test_an_agent_that_comes_again_goes_on_after_its_last_sequence(storage: MemoryStorage) -> None:
    await fill(storage, 3)
    await storage.store_agent_state("a", {})
    for last in (3, 4, 5):
        await storage.delete_agent("a")
        assert await left(storage) == []
        assert await storage.list_agents() == []
        await storage.store_interaction("a", {}, interaction_id="id-1")
        assert await left(storage) == [last + 1], "ids are free again, sequences are not"
    assert await storage.store_agent_state("a", {}) == 1


@pytest.mark.asyncio
async def test_the_last_sequence_survives_an_agent_that_comes_again_without_interactions(
    storage: MemoryStorage,
) -> None:
    await fill(storage, 3)
    await storage.delete_agent("a")
    await storage.store_agent_state("a", {})
    await storage.delete_agent("a")
    await storage.store_interaction("a", {})
    assert await left(storage) == [4]


@pytest.mark.asyncio
async def test_nothing_of_the_name_remains_after_delete_agent(storage: MemoryStorage) -> None:
    await storage.record_turn("Somebody", interactions=[{"who": "Somebody"}], state={}, learning={"k": {}})
    data = stored(storage)
    assert "Somebody" in repr(vars(data))
    await storage.delete_agent("Somebody")
    assert "Somebody" not in repr(vars(data))


# --- namespaces ------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_namespaces_do_not_see_each_other() -> None:
    one = MemoryStorage("shared", namespace="one")
    other = MemoryStorage("shared", namespace="other")
    try:
        for storage, n in ((one, 1), (other, 2)):
            await storage.record_turn(
                "a", interactions=[{"n": n}] * n, state={"n": n}, learning={"k": {"n": n}}
            )
            await storage.store_system_state("k", {"n": n})
        await one.record_turn("only one", interactions=[{}])
        assert await other.list_agents() == ["a"]
        assert await other.get_interactions("only one") == []
        assert await other.get_interactions("a") == [{"n": 2}, {"n": 2}]
        assert await other.delete_interactions(keep_last=0) == 2
        assert await other.delete_agent("a") == Deletion("a", 0, 1, 1)
        assert await other.delete_system_state("k")
        assert await one.list_agents() == ["a", "only one"]
        assert await one.get_interactions("a") == [{"n": 1}]
        assert await one.get_agent_state("a") == {"n": 1}
        assert [document.data for document in await one.list_learning_data("a")] == [{"n": 1}]
        assert await one.get_system_state("k") == {"n": 1}
        assert await left(one, "a") == [1], "sequences are the namespace's own"
    finally:
        await one.close()
        await other.close()
        assert MemoryStorage.forget("shared")


# --- damage ----------------------------------------------------------------------------------------------


def damage_interaction(storage: MemoryStorage, sequence: int, **changes: Any) -> None:
    log = stored(storage).agents["a"].log
    for i, record in enumerate(log.records):
        if record.sequence == sequence:
            log.records[i] = log.by_id[record.id] = record._replace(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"body": b'{"n":9}'}, {"body": b""}, {"id": "other"}, {"at_us": 0}],
    ids=["body", "all", "id", "time"],
)
@pytest.mark.asyncio
async def test_a_damaged_interaction_is_never_returned_and_never_skipped(
    storage: MemoryStorage, changes: dict[str, Any]
) -> None:
    await fill(storage, 3)
    damage_interaction(storage, 2, **changes)
    for reverse, expected in ((False, [1, 3]), (True, [3, 1])):
        stream = aiter(storage.iter_interactions("a", reverse=reverse))
        assert (await anext(stream)).sequence == expected[0]
        with pytest.raises(CorruptDataError) as caught:
            await anext(stream)
        assert (caught.value.agent_id, caught.value.sequence) == ("a", 2)
        assert str(caught.value) == "interaction 2 of agent 'a' is not as it was written"
        assert [one.sequence async for one in stream] == expected[1:], "iteration goes on after it"
    with pytest.raises(CorruptDataError):
        await storage.get_interactions("a")
    assert await storage.get_interactions("a", 1) == [{"n": 3}]
    with pytest.raises(CorruptDataError):
        await storage.count_interactions("a", where={"n": 3})
    watch = storage.watch_interactions("a", after=1)
    with pytest.raises(CorruptDataError):
        await anext(watch)
    assert (await anext(watch)).sequence == 3
    found = [one async for one in storage.verify()]
    assert found == [
        Damage("interaction", "interaction 2 of agent 'a' is not as it was written", agent_id="a", sequence=2)
    ]


@pytest.mark.asyncio
async def test_a_damaged_interaction_is_not_returned_by_its_id(storage: MemoryStorage) -> None:
    await fill(storage, 3)
    damage_interaction(storage, 2, body=b'{"n":9}')
    with pytest.raises(CorruptDataError):
        await storage.get_interaction("a", "id-2")


@pytest.mark.asyncio
async def test_damaged_documents_are_never_returned(storage: MemoryStorage) -> None:
    await storage.record_turn("a", state={"n": 1}, learning={"k": {"n": 1}, "l": {"n": 1}})
    await storage.store_system_state("k", {"n": 1})
    agent = stored(storage).agents["a"]
    for documents, key in ((agent.state, ""), (agent.learning, "k"), (stored(storage).system, "k")):
        documents.stored[key] = documents.stored[key]._replace(body=b'{"n":2}')
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: storage.get_agent_state("a"),
        lambda: storage.get_agent_state_document("a"),
        lambda: storage.update_agent_state("a", lambda data: data),
        lambda: storage.get_learning_data("a", "k"),
        lambda: storage.list_learning_data("a"),
        lambda: storage.get_system_state("k"),
        storage.list_system_state,
    ]
    for call in calls:
        with pytest.raises(CorruptDataError, match="is not as it was written"):
            await call()
    assert await storage.get_learning_data("a", "l") == {"n": 1}
    found = [(one.kind, one.agent_id, one.key) async for one in storage.verify()]
    assert found == [
        ("agent_state", "a", None),
        ("learning_data", "a", "k"),
        ("system_state", None, "k"),
    ]
    await storage.store_agent_state("a", {"n": 3})
    assert await storage.get_agent_state("a") == {"n": 3}, "storing it again replaces it"


@pytest.mark.asyncio
async def test_verify_finds_nothing_where_nothing_is_wrong(storage: MemoryStorage) -> None:
    await storage.record_turn("a", interactions=[{"n": 1}], state={"n": 1}, learning={"k": {"n": 1}})
    await storage.store_system_state("k", {})
    assert [one async for one in storage.verify()] == []


# --- health and capabilities -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_health_says_that_nothing_is_durable(storage: MemoryStorage) -> None:
    health = await storage.health()
    assert health == Health(
        ok=True,
        backend="MemoryStorage",
        latency=health.latency,
        durability="none",
        warnings=("everything is lost when this process ends: choose another backend for data to keep",),
    )
    assert health.latency is not None
    assert 0 <= health.latency < 1


def test_declares_everything_but_durability() -> None:
    assert MemoryStorage().capabilities == MemoryStorage.declares == ALL_CAPABILITIES
    assert not MemoryStorage.durable
    assert not MemoryStorage.multiprocess
