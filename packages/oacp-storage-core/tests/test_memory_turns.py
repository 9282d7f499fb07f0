"""``MemoryStorage``: turns, and taking over records of another store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from oacp_storage_core import (
    Document,
    DuplicateIdError,
    Interaction,
    InvalidKeyError,
    InvalidPayloadError,
    MemoryStorage,
    PayloadTooLargeError,
    Turn,
    VersionConflictError,
)
from oacp_storage_core.payload import MAX_CALL_INTERACTIONS

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest_asyncio.fixture
async def storage() -> AsyncIterator[MemoryStorage]:
    async with MemoryStorage() as storage:
        yield storage


def given(n: int, sequence: int = 0, agent_id: str = "a", **data: Any) -> Interaction:
    return Interaction(agent_id, f"id-{n}", sequence, NOW, {"n": n, **data})


async def everything(storage: MemoryStorage) -> list[Any]:
    """All that agent a has, to see that nothing has changed."""
    return [
        [one async for one in storage.iter_interactions("a")],
        await storage.get_agent_state_document("a"),
        await storage.list_learning_data("a"),
        await storage.list_agents(),
    ]


# --- turns -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_turn_writes_everything_and_returns_it(storage: MemoryStorage) -> None:
    turn = await storage.record_turn(
        "a", interactions=[{"n": 1}, given(2)], state={"step": 1}, learning={"k": {"x": 1}, "l": {"y": 2}}
    )
    assert not turn.replayed
    assert [(one.sequence, one.data) for one in turn.interactions] == [(1, {"n": 1}), (2, {"n": 2})]
    assert turn.state is not None
    assert (turn.state.key, turn.state.data, turn.state.version) == ("", {"step": 1}, 1)
    assert {key: (one.data, one.version) for key, one in turn.learning.items()} == {
        "k": ({"x": 1}, 1),
        "l": ({"y": 2}, 1),
    }
    interactions, state, learning, agents = await everything(storage)
    assert tuple(interactions) == turn.interactions
    assert state == turn.state
    assert learning == [turn.learning["k"], turn.learning["l"]]
    assert agents == ["a"]


@pytest.mark.asyncio
async def test_a_turn_leaves_what_it_does_not_name(storage: MemoryStorage) -> None:
    await storage.record_turn("a", state={"step": 1}, learning={"k": {"x": 1}})
    turn = await storage.record_turn("a", interactions=[{"n": 1}])
    assert (turn.state, turn.learning) == (None, {})
    assert await storage.get_agent_state("a") == {"step": 1}
    turn = await storage.record_turn("a", learning={"k": {"x": 2}})
    assert turn.learning["k"].version == 2, "learning data is put unconditionally"
    turn = await storage.record_turn("a", state={"step": 2}, expected_version=1)
    assert turn.interactions == ()
    assert turn.state is not None
    assert turn.state.version == 2


@pytest.mark.asyncio
async def test_an_empty_turn_writes_nothing(storage: MemoryStorage) -> None:
    assert await storage.record_turn("a") == Turn((), None, {}, False)
    assert await storage.record_turn("a", interactions=[], learning={}) == Turn((), None, {}, False)
    assert await storage.list_agents() == []


@pytest.mark.asyncio
async def test_what_a_turn_returns_is_the_callers(storage: MemoryStorage) -> None:
    state = {"list": [1]}
    turn = await storage.record_turn(
        "a", interactions=[{"list": [1]}], state=state, learning={"k": {"list": [1]}}
    )
    before = await everything(storage)
    assert turn.state is not None
    for data in (state, turn.state.data, turn.learning["k"].data, turn.interactions[0].data):
        data["list"].append(2)
    assert await everything(storage) == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"interactions": [{"n": 1}, {"x": ()}]}, InvalidPayloadError),
        ({"interactions": [{"n": 1}], "state": {"x": ()}}, InvalidPayloadError),
        ({"interactions": [{"n": 1}], "learning": {"k": {}, "l": {"x": ()}}}, InvalidPayloadError),
        ({"interactions": [{"n": 1}], "learning": {"": {}}}, InvalidKeyError),
        ({"interactions": [given(1), given(9, agent_id="b")]}, ValueError),
        ({"interactions": [{"n": 1}], "state": {}, "expected_version": 7}, VersionConflictError),
        ({"interactions": [{"n": 1}], "learning": {"k": {}}, "expected_version": 1}, ValueError),
        ({"interactions": [given(1), given(1)], "state": {}}, DuplicateIdError),
        ({"interactions": [given(1), given(5)], "state": {}}, DuplicateIdError),
        ({"interactions": [given(5, other=1)], "state": {}}, DuplicateIdError),
        ({"interactions": [given(5), {"n": 6}], "state": {}}, DuplicateIdError),
        ({"interactions": [{}] * (MAX_CALL_INTERACTIONS + 1)}, PayloadTooLargeError),
        (
            {
                "interactions": [{"x": "y" * 12_000_000}],
                "state": {"x": "y" * 12_000_000},
                "learning": {"k": {"x": "y" * 12_000_000}},
            },
            PayloadTooLargeError,
        ),
    ],
    ids=[
        "interaction",
        "state",
        "learning",
        "key",
        "agent",
        "version",
        "version without state",
        "id given twice",
        "one id exists",
        "id with another payload",
        "one id exists beside a new one",
        "too many",
        "too large together",
    ],
)
@pytest.mark.asyncio
async def test_a_turn_is_all_or_nothing(
    storage: MemoryStorage, arguments: dict[str, Any], error: type[Exception]
) -> None:
    await storage.record_turn("a", interactions=[given(5)], state={"step": 1}, learning={"k": {"x": 1}})
    before = await everything(storage)
    with pytest.raises(error) as caught:
        await storage.record_turn("a", **arguments)
    assert type(caught.value) is error
    assert await everything(storage) == before


@pytest.mark.asyncio
async def test_faults_of_a_turn_are_named(storage: MemoryStorage) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^\$\[1\]\.x: tuple"):
        await storage.record_turn("a", interactions=[{}, {"x": ()}])
    with pytest.raises(InvalidPayloadError, match=r"^\$\.state\.x: tuple"):
        await storage.record_turn("a", state={"x": ()})
    with pytest.raises(InvalidPayloadError, match=r"^\$\.learning\['k'\]\.x: tuple"):
        await storage.record_turn("a", learning={"k": {"x": ()}})
    with pytest.raises(ValueError, match=r"^record_turn: expected_version is the version of the state"):
        await storage.record_turn("a", expected_version=1)


@pytest.mark.asyncio
async def test_a_turn_that_failed_lists_no_agent(storage: MemoryStorage) -> None:
    with pytest.raises(VersionConflictError):
        await storage.record_turn("a", interactions=[{}], state={}, expected_version=1, learning={"k": {}})
    assert await storage.list_agents() == []


@pytest.mark.asyncio
async def test_a_turn_again_is_replayed(storage: MemoryStorage) -> None:
    async def record() -> Turn:
        return await storage.record_turn(
            "a",
            interactions=[given(1), given(2)],
            state={"step": 1},
            expected_version=0,
            learning={"k": {"x": 1}},
        )

    first = await record()
    before = await everything(storage)
    again = await record()
    assert again == Turn(first.interactions, first.state, first.learning, replayed=True)
    assert await everything(storage) == before
    await storage.store_agent_state("a", {"step": 2})
    await storage.delete_learning_data("a", "k")
    later = await record()
    assert later.replayed
    assert later.interactions == first.interactions
    assert later.state is not None
    assert (later.state.data, later.state.version) == ({"step": 2}, 2), "the state is as it is now"
    assert later.learning == {}
    assert await storage.get_agent_state("a") == {"step": 2}


@pytest.mark.asyncio
async def test_a_turn_of_which_a_part_exists_in_another_order_is_replayed_in_its_own(
    storage: MemoryStorage,
) -> None:
    await storage.store_interactions("a", [given(1), given(2)])
    turn = await storage.record_turn("a", interactions=[given(2), given(1)])
    assert turn.replayed
    assert [one.sequence for one in turn.interactions] == [2, 1]
    assert turn.state is None


@pytest.mark.asyncio
async def test_a_turn_without_given_ids_is_never_a_replay(storage: MemoryStorage) -> None:
    for expected in (1, 2):
        turn = await storage.record_turn("a", interactions=[{"n": 1}], state={"step": 1})
        assert not turn.replayed
        assert turn.state is not None
        assert turn.state.version == expected
        assert turn.interactions[0].sequence == expected


# --- imports ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_import_keeps_sequences_versions_and_times(storage: MemoryStorage) -> None:
    state = Document("", {"step": 9}, 17, NOW)
    learning = [Document("k", {"x": 1}, 5, NOW), Document("l", {}, 2, NOW + timedelta(days=1))]
    await storage.import_records("a", interactions=[given(1, 3), given(2, 7)], state=state, learning=learning)
    assert await everything(storage) == [[given(1, 3), given(2, 7)], state, learning, ["a"]]
    await storage.store_interaction("a", {"n": 3}, interaction_id="id-3", timestamp=NOW)
    assert await storage.get_interaction("a", "id-3") == given(3, 8)
    assert await storage.store_agent_state("a", {}) == 18
    assert await storage.store_learning_data("a", "k", {}, expected_version=5) == 6


@pytest.mark.asyncio
async def test_an_import_passes_over_what_is_there_unchanged(storage: MemoryStorage) -> None:
    await storage.import_records("a", interactions=[given(1, 3), given(2, 7)])
    await storage.import_records("a", interactions=[given(2, 7)])
    await storage.import_records("a", interactions=[given(1, 3), given(2, 7), given(3, 8)])
    assert [one async for one in storage.iter_interactions("a")] == [given(1, 3), given(2, 7), given(3, 8)]


@pytest.mark.asyncio
async def test_an_import_replaces_documents(storage: MemoryStorage) -> None:
    await storage.record_turn("a", state={"n": 1}, learning={"k": {"n": 1}})
    await storage.store_agent_state("a", {"n": 2})
    await storage.import_records(
        "a", state=Document("", {"n": 3}, 1, NOW), learning=[Document("k", {"n": 3}, 1, NOW)]
    )
    assert await storage.get_agent_state_document("a") == Document("", {"n": 3}, 1, NOW)
    assert await storage.get_learning_data_document("a", "k") == Document("k", {"n": 3}, 1, NOW)


@pytest.mark.parametrize(
    "interactions",
    [
        [given(4, 8), given(9, 7)],
        [given(4, 8), given(1, 9)],
        [given(4, 8), given(1, 3, other=1)],
        [given(4, 8), given(5, 8)],
        [given(4, 8), given(4, 9)],
        [given(4, 8), given(4, 8, other=1)],
        [given(5, 5)],
    ],
    ids=[
        "a taken sequence",
        "an id with another sequence",
        "an id with another payload",
        "a sequence given twice",
        "an id given twice",
        "an id given twice with another payload",
        "a sequence below the head",
    ],
)
@pytest.mark.asyncio
async def test_an_import_refuses_what_is_taken_and_writes_nothing(
    storage: MemoryStorage, interactions: list[Interaction]
) -> None:
    await storage.import_records("a", interactions=[given(1, 3), given(2, 7)])
    before = await everything(storage)
    with pytest.raises(DuplicateIdError, match="nothing was written"):
        await storage.import_records(
            "a",
            interactions=interactions,
            state=Document("", {}, 1, NOW),
            learning=[Document("k", {}, 1, NOW)],
        )
    assert await everything(storage) == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"interactions": [given(4, 8)], "state": Document("", {"x": ()}, 1, NOW)},
        {"interactions": [given(4, 8)], "learning": [Document("", {}, 1, NOW)]},
        {"interactions": [given(4, 8)], "learning": [Document("k", {}, 0, NOW)]},
        {"interactions": [given(4, 0)]},
        {"interactions": [given(4, 1, agent_id="b")]},
    ],
    ids=["state", "key", "version", "sequence", "agent"],
)
@pytest.mark.asyncio
async def test_an_import_is_all_or_nothing(storage: MemoryStorage, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are in test_arguments.py
        await storage.import_records("a", **arguments)
    assert await everything(storage) == [[], None, [], []]


@pytest.mark.asyncio
async def test_an_import_has_the_limits_of_every_call(storage: MemoryStorage) -> None:
    large = {"x": "y" * 12_000_000}
    with pytest.raises(PayloadTooLargeError):
        await storage.import_records(
            "a",
            interactions=[Interaction("a", "i", 1, NOW, large)],
            state=Document("", large, 1, NOW),
            learning=[Document("k", large, 1, NOW)],
        )
    assert await storage.list_agents() == []


@pytest.mark.asyncio
async def test_an_empty_import_writes_nothing(storage: MemoryStorage) -> None:
    await storage.import_records("a")
    assert await storage.list_agents() == []


@pytest.mark.asyncio
async def test_system_state_is_imported_with_its_version(storage: MemoryStorage) -> None:
    await storage.store_system_state("k", {"n": 1})
    await storage.import_system_state(Document("k", {"n": 2}, 9, NOW))
    assert await storage.get_system_state_document("k") == Document("k", {"n": 2}, 9, NOW)
    assert await storage.store_system_state("k", {}) == 10
    with pytest.raises(InvalidKeyError):
        await storage.import_system_state(Document("", {}, 1, NOW))


@pytest.mark.asyncio
async def test_a_store_is_copied_whole(storage: MemoryStorage) -> None:
    for n in range(1, 10):
        await storage.record_turn(
            "a", interactions=[{"n": n}], state={"step": n}, learning={f"k{n}": {"n": n}}
        )
    await storage.delete_interactions(
        "a", ids=[(await storage.record_turn("a", interactions=[{}])).interactions[0].id]
    )
    await storage.delete_interactions("a", keep_last=5)
    async with MemoryStorage() as other:
        await other.import_records(
            "a",
            interactions=[one async for one in storage.iter_interactions("a")],
            state=await storage.get_agent_state_document("a"),
            learning=await storage.list_learning_data("a"),
        )
        assert await everything(other) == await everything(storage)
