"""``MemoryStorage``: agent state, learning data and system state, by the same rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from oacp_storage_core import (
    Change,
    Document,
    InvalidKeyError,
    InvalidPayloadError,
    MemoryStorage,
    PayloadTooLargeError,
    VersionConflictError,
)


class Kind:
    """One of the three kinds of documents, by the methods it has."""

    def __init__(self, storage: MemoryStorage, kind: str, *names: str) -> None:
        self.storage = storage
        self.names = names
        self.described = {
            "agent_state": "the state of agent 'a'",
            "learning_data": "the learning data 'k' of agent 'a'",
            "system_state": "the system state 'k'",
        }[kind]
        self.store: Callable[..., Awaitable[int]] = getattr(storage, f"store_{kind}")
        self.get: Callable[..., Awaitable[dict[str, Any] | None]] = getattr(storage, f"get_{kind}")
        self.document: Callable[..., Awaitable[Document | None]] = getattr(storage, f"get_{kind}_document")
        self.update: Callable[..., Awaitable[Document | None]] = getattr(storage, f"update_{kind}")
        self.delete: Callable[..., Awaitable[bool]] = getattr(storage, f"delete_{kind}")


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    async with MemoryStorage() as storage:
        yield storage


@pytest.fixture(
    params=[("agent_state", "a"), ("learning_data", "a", "k"), ("system_state", "k")], ids=lambda x: x[0]
)
def kind(storage: MemoryStorage, request: pytest.FixtureRequest) -> Kind:
    return Kind(storage, *request.param)


@pytest.mark.asyncio
async def test_nothing_is_none(kind: Kind) -> None:
    assert await kind.get(*kind.names) is None
    assert await kind.document(*kind.names) is None
    assert await kind.delete(*kind.names) is False


@pytest.mark.asyncio
async def test_versions_are_1_2_3_and_begin_again_after_deletion(kind: Kind) -> None:
    for version in (1, 2, 3):
        assert await kind.store(*kind.names, {"n": version}) == version
        assert await kind.get(*kind.names) == {"n": version}
    assert await kind.delete(*kind.names) is True
    assert await kind.get(*kind.names) is None
    assert await kind.delete(*kind.names) is False
    assert await kind.store(*kind.names, {"n": 1}) == 1


@pytest.mark.asyncio
async def test_a_document_has_key_version_and_time(kind: Kind) -> None:
    before = datetime.now(UTC)
    await kind.store(*kind.names, {"n": 1})
    await kind.store(*kind.names, {"n": 2})
    found = await kind.document(*kind.names)
    assert found is not None
    assert (found.key, found.data, found.version) == (
        kind.names[-1] if "k" in kind.names else "",
        {"n": 2},
        2,
    )
    assert before <= found.updated_at <= datetime.now(UTC)
    assert found.updated_at.tzinfo is UTC


@pytest.mark.asyncio
async def test_nothing_is_shared_with_the_caller(kind: Kind) -> None:
    given = {"list": [1]}
    await kind.store(*kind.names, given)
    given["list"].append(2)
    found = await kind.document(*kind.names)
    got = await kind.get(*kind.names)
    assert found is not None
    assert got is not None
    assert found.data == got == {"list": [1]}
    found.data["list"].append(3)
    got["list"].append(4)
    assert await kind.get(*kind.names) == {"list": [1]}


@pytest.mark.asyncio
async def test_payloads_are_checked(kind: Kind) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^\$\.x: tuple"):
        await kind.store(*kind.names, {"x": ()})
    with pytest.raises(PayloadTooLargeError):
        await kind.store(*kind.names, {"x": "y" * 16_000_000})
    with pytest.raises(InvalidPayloadError, match=r"^\$\.x: tuple"):
        await kind.update(*kind.names, lambda _: {"x": ()})
    assert await kind.get(*kind.names) is None
    assert await kind.storage.list_agents() == []


@pytest.mark.asyncio
async def test_a_document_is_written_at_its_expected_version_only(kind: Kind) -> None:
    with pytest.raises(VersionConflictError) as none_there:
        await kind.store(*kind.names, {"n": 0}, expected_version=1)
    assert (none_there.value.expected, none_there.value.actual) == (1, 0)
    assert await kind.storage.list_agents() == [], "a write that failed lists no agent"
    assert await kind.store(*kind.names, {"n": 1}, expected_version=0) == 1
    assert await kind.store(*kind.names, {"n": 2}, expected_version=1) == 2
    for expected in (0, 1, 3, 10**30):
        with pytest.raises(VersionConflictError, match=f"^{kind.described}: expected ") as caught:
            await kind.store(*kind.names, {"n": 3}, expected_version=expected)
        assert (caught.value.expected, caught.value.actual) == (min(expected, 2**53 - 1), 2)
    assert await kind.get(*kind.names) == {"n": 2}
    with pytest.raises(ValueError, match="expected_version must not be negative"):
        await kind.store(*kind.names, {}, expected_version=-1)


@pytest.mark.asyncio
async def test_a_document_is_deleted_at_its_expected_version_only(kind: Kind) -> None:
    assert await kind.delete(*kind.names, expected_version=0) is False
    with pytest.raises(VersionConflictError):
        await kind.delete(*kind.names, expected_version=1)
    await kind.store(*kind.names, {"n": 1})
    await kind.store(*kind.names, {"n": 2})
    for expected in (0, 1, 3):
        with pytest.raises(VersionConflictError) as caught:
            await kind.delete(*kind.names, expected_version=expected)
        assert (caught.value.expected, caught.value.actual) == (expected, 2)
    assert await kind.get(*kind.names) == {"n": 2}
    assert await kind.delete(*kind.names, expected_version=2) is True


# --- update ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_update_creates_and_changes(kind: Kind) -> None:
    seen = []

    def change(data: dict[str, Any] | None) -> dict[str, Any]:
        seen.append(data)
        return {"n": (data or {"n": 0})["n"] + 1}

    first = await kind.update(*kind.names, change)
    second = await kind.update(*kind.names, change)
    assert seen == [None, {"n": 1}]
    assert first is not None
    assert (first.data, first.version) == ({"n": 1}, 1)
    assert second == await kind.document(*kind.names)
    assert second is not None
    assert (second.data, second.version) == ({"n": 2}, 2)


@pytest.mark.asyncio
async def test_update_takes_async_changes_and_changes_in_place(kind: Kind) -> None:
    async def change(data: dict[str, Any] | None) -> dict[str, Any]:
        await asyncio.sleep(0)
        data = data or {"list": []}
        data["list"].append(len(data["list"]))
        return data

    for _ in range(3):
        await kind.update(*kind.names, change)
    assert await kind.get(*kind.names) == {"list": [0, 1, 2]}


@pytest.mark.asyncio
async def test_update_writes_nothing_when_there_is_nothing_to_write(kind: Kind) -> None:
    assert await kind.update(*kind.names, lambda _: None) is None
    assert await kind.storage.list_agents() == []
    await kind.store(*kind.names, {"list": [1]})

    def spoil(data: dict[str, Any] | None) -> None:
        assert data is not None
        data["list"].append(2)

    found = await kind.update(*kind.names, spoil)
    assert found == await kind.document(*kind.names)
    assert found is not None
    assert (found.data, found.version) == ({"list": [1]}, 1)


@pytest.mark.asyncio
async def test_update_starts_over_when_somebody_was_faster(kind: Kind) -> None:
    seen = []

    async def change(data: dict[str, Any] | None) -> dict[str, Any]:
        seen.append(data)
        if len(seen) == 1:
            await kind.store(*kind.names, {"n": 10})
        if len(seen) == 2:
            await kind.delete(*kind.names)
        return {"n": (data or {"n": 0})["n"] + 1}

    found = await kind.update(*kind.names, change)
    assert seen == [None, {"n": 10}, None]
    assert found is not None
    assert (found.data, found.version) == ({"n": 1}, 1)


@pytest.mark.asyncio
async def test_no_update_is_lost(kind: Kind) -> None:
    async def increment(data: dict[str, Any] | None) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"n": (data or {"n": 0})["n"] + 1}

    await asyncio.gather(*(kind.update(*kind.names, increment) for _ in range(20)))
    found = await kind.document(*kind.names)
    assert found is not None
    assert (found.data, found.version) == ({"n": 20}, 20)


@pytest.mark.asyncio
async def test_an_error_in_change_is_the_callers_and_writes_nothing(kind: Kind) -> None:
    def fail(_: dict[str, Any] | None) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await kind.update(*kind.names, fail)
    assert await kind.get(*kind.names) is None


# --- names and lists -------------------------------------------------------------------------------------

NAMES = ["b", "a", "B", "aa", "é", "e\u0301", "a.b", "10", "9", "\uffff", "\U00010000", "\U0001f600", " "]


@pytest.mark.asyncio
async def test_lists_are_in_code_point_order(storage: MemoryStorage) -> None:
    for name in NAMES:
        await storage.store_learning_data("agent", name, {"name": name})
        await storage.store_system_state(name, {"name": name})
        await storage.store_agent_state(name, {})
    ordered = sorted(NAMES)
    assert ordered.index("\uffff") < ordered.index("\U00010000"), "UTF-16 would have it the other way round"
    learning = await storage.list_learning_data("agent")
    system = await storage.list_system_state()
    assert [one.key for one in learning] == [one.key for one in system] == ordered
    assert (
        [one.data for one in learning] == [one.data for one in system] == [{"name": name} for name in ordered]
    )
    assert await storage.list_agents(prefix="") == sorted([*NAMES, "agent"])


@pytest.mark.asyncio
async def test_lists_take_prefix_after_and_limit(storage: MemoryStorage) -> None:
    for name in ("a1", "a2", "a3", "b1", "A1"):
        await storage.store_learning_data("x", name, {})
        await storage.store_system_state(name, {})
        await storage.store_interaction(name, {})

    async def learning(**given: Any) -> list[str]:
        return [one.key for one in await storage.list_learning_data("x", **given)]

    async def system(**given: Any) -> list[str]:
        return [one.key for one in await storage.list_system_state(**given)]

    async def agents(**given: Any) -> list[str]:
        return [one for one in await storage.list_agents(**given) if one != "x"]

    for keys in (learning, system, agents):
        assert await keys(prefix="a") == ["a1", "a2", "a3"]
        assert await keys(prefix="a", after="a1") == ["a2", "a3"]
        assert await keys(after="a11") == ["a2", "a3", "b1"]
        assert await keys(after="") == await keys() == ["A1", "a1", "a2", "a3", "b1"]
        assert await keys(prefix="a", limit=2) == ["a1", "a2"]
        assert await keys(limit=0) == []
        assert await keys(prefix="a1x") == []
        assert await keys(prefix="x" * 1000) == []
        with pytest.raises(ValueError, match="limit must not be negative"):
            await keys(limit=-1)
        with pytest.raises(InvalidKeyError):
            await keys(prefix="\0")
        with pytest.raises(InvalidKeyError):
            await keys(after="\ud800")
    assert await storage.list_learning_data("nobody") == []


@pytest.mark.asyncio
async def test_lists_return_100_unless_told_otherwise(storage: MemoryStorage) -> None:
    for n in range(105):
        await storage.store_learning_data("x", f"{n:03}", {})
        await storage.store_system_state(f"{n:03}", {})
        await storage.store_agent_state(f"{n:03}", {})
    assert len(await storage.list_learning_data("x")) == 100
    assert len(await storage.list_system_state()) == 100
    assert len(await storage.list_agents()) == 100
    assert len(await storage.list_agents(limit=10**30)) == 106


@pytest.mark.asyncio
async def test_documents_are_apart_from_each_other(storage: MemoryStorage) -> None:
    await storage.store_agent_state("k", {"kind": "state"})
    await storage.store_learning_data("k", "k", {"kind": "learning"})
    await storage.store_system_state("k", {"kind": "system"})
    await storage.store_learning_data("l", "k", {"kind": "of another agent"})
    assert await storage.get_agent_state("k") == {"kind": "state"}
    assert await storage.get_learning_data("k", "k") == {"kind": "learning"}
    assert await storage.get_system_state("k") == {"kind": "system"}
    assert await storage.delete_agent_state("k")
    assert await storage.get_learning_data("k", "k") == {"kind": "learning"}
    assert await storage.get_system_state("k") == {"kind": "system"}


@pytest.mark.parametrize("name", ["", "a\0", "\ud800", "x" * 513, None, 1])
@pytest.mark.asyncio
async def test_other_names_are_refused_everywhere(storage: MemoryStorage, name: Any) -> None:
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: storage.store_agent_state(name, {}),
        lambda: storage.get_agent_state(name),
        lambda: storage.get_agent_state_document(name),
        lambda: storage.update_agent_state(name, no_change),
        lambda: storage.delete_agent_state(name),
        lambda: storage.store_learning_data(name, "k", {}),
        lambda: storage.store_learning_data("a", name, {}),
        lambda: storage.get_learning_data(name, "k"),
        lambda: storage.get_learning_data("a", name),
        lambda: storage.get_learning_data_document("a", name),
        lambda: storage.update_learning_data("a", name, no_change),
        lambda: storage.delete_learning_data("a", name),
        lambda: storage.list_learning_data(name),
        lambda: storage.store_system_state(name, {}),
        lambda: storage.get_system_state(name),
        lambda: storage.get_system_state_document(name),
        lambda: storage.update_system_state(name, no_change),
        lambda: storage.delete_system_state(name),
    ]
    for call in calls:
        with pytest.raises(InvalidKeyError):
            await call()
    assert await storage.list_agents() == []
    assert await storage.list_system_state() == []


no_change: Change = lambda data: data  # noqa: E731 - a name for a value
