"""A class with the four methods becomes a Storage that checks what goes in and refuses the rest."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from behind_adapter import backend_of
from oacp_storage_core import (
    Capability,
    Document,
    InvalidKeyError,
    InvalidPayloadError,
    MemoryStorage,
    Storage,
    StorageBackend,
    StorageClosedError,
    StorageConfigError,
    StorageConnectionError,
    UnsupportedOperationError,
    adapt,
    create_storage,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Four(StorageBackend):
    """A backend as a stranger writes it: the four methods, and every call noted."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.log: list[dict[str, Any]] = []
        self.state: dict[str, Any] | None = None
        self.version: int | None = None

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        self.calls.append(("store_interaction", agent_id, interaction))
        self.log.append(interaction)
        return f"id-{len(self.log)}"

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        self.calls.append(("get_interactions", agent_id, limit))
        return self.log[-limit:]

    async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> int | None:
        self.calls.append(("store_agent_state", agent_id, state))
        self.state = state
        return self.version

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        self.calls.append(("get_agent_state", agent_id))
        return self.state

    async def open(self) -> None:
        self.calls.append(("open",))

    async def close(self) -> None:
        self.calls.append(("close",))


def test_a_storage_comes_back_unchanged() -> None:
    storage = MemoryStorage()
    assert adapt(storage) is storage
    adapted = adapt(Four())
    assert adapt(adapted) is adapted


@pytest.mark.parametrize("what", [Four, object(), None])
def test_only_an_instance_of_a_backend_is_adapted(what) -> None:
    with pytest.raises(TypeError, match="adapt takes an instance of a StorageBackend, not"):
        adapt(what)


def test_coerce_of_a_storage_is_its_own_option() -> None:
    with pytest.raises(ValueError, match="coerce is an option of MemoryStorage itself"):
        adapt(MemoryStorage(), coerce=True)


@pytest.mark.asyncio
async def test_the_four_methods_are_passed_on_and_what_they_return_is_passed_back() -> None:
    backend = Four()
    storage = adapt(backend)
    assert isinstance(storage, Storage)
    assert await storage.store_interaction("a", {"n": 1}) == "id-1"
    assert await storage.store_interaction("a", {"n": 2}) == "id-2"
    assert await storage.get_interactions("a") == [{"n": 1}, {"n": 2}]
    assert await storage.get_interactions("a", 1) == [{"n": 2}]
    assert await storage.get_interactions("a", limit=1) == [{"n": 2}]
    assert await storage.get_agent_state("a") is None
    assert await storage.store_agent_state("a", {"s": 1}) == 0
    backend.version = 7
    assert await storage.store_agent_state("a", {"s": 2}) == 7
    assert await storage.get_agent_state("a") == {"s": 2}
    assert backend.calls[:3] == [
        ("open",),
        ("store_interaction", "a", {"n": 1}),
        ("store_interaction", "a", {"n": 2}),
    ]


@pytest.mark.asyncio
async def test_the_backend_is_given_a_copy() -> None:
    storage = adapt(Four())
    given = {"list": [1]}
    await storage.store_interaction("a", given)
    await storage.store_agent_state("a", given)
    given["list"].append(2)
    assert await storage.get_interactions("a") == [{"list": [1]}]
    assert await storage.get_agent_state("a") == {"list": [1]}


@pytest.mark.asyncio
async def test_names_payloads_and_limits_are_checked_before_the_backend_sees_them() -> None:
    backend = Four()
    storage = adapt(backend)
    for call in (
        lambda: storage.store_interaction("", {}),
        lambda: storage.get_interactions("a\0"),
        lambda: storage.store_agent_state("x" * 513, {}),
        lambda: storage.get_agent_state("\ud800"),
    ):
        with pytest.raises(InvalidKeyError):
            await call()
    for call in (
        lambda: storage.store_interaction("a", {"when": NOW}),
        lambda: storage.store_agent_state("a", {"x": float("nan")}),
        lambda: storage.store_interaction("a", cast("Any", [1])),
    ):
        with pytest.raises(InvalidPayloadError):
            await call()
    with pytest.raises(InvalidPayloadError, match=r"\$\.when: datetime is not JSON"):
        await storage.store_interaction("a", {"when": NOW})
    with pytest.raises(ValueError, match="limit must not be negative"):
        await storage.get_interactions("a", -1)
    with pytest.raises(TypeError, match="limit must be an int"):
        await storage.get_interactions("a", True)
    assert await storage.get_interactions("a", 0) == []
    assert backend.calls == []


@pytest.mark.asyncio
async def test_coerce_turns_what_is_usually_meant_into_json(site) -> None:
    backend = Four()
    storage = adapt(backend, coerce=True)
    await storage.store_interaction("a", {"when": NOW, "pair": (1, 2)})
    await storage.store_agent_state("a", {"x": float("nan")})
    assert backend.log == [{"when": "2026-01-02T00:00:00+00:00", "pair": [1, 2]}]
    assert backend.state == {"x": None}
    site.install_backend("plain", "from_url = classmethod(lambda cls, url, **options: cls(**options))")
    for made in (create_storage("plain", coerce=True), create_storage("plain://h?coerce=true")):
        await made.store_interaction("a", {"pair": (1, 2)})
        assert await made.get_interactions("a") == [{"pair": [1, 2]}]
    with pytest.raises(InvalidPayloadError):
        await create_storage("plain").store_interaction("a", {"pair": (1, 2)})
    with pytest.raises(StorageConfigError, match="the option 'coerce' must be bool"):
        create_storage("plain", coerce="yes")


@pytest.mark.asyncio
async def test_coerce_of_the_class_itself_is_left_to_it(site) -> None:
    site.install_backend("own", parameters="coerce: str = 'x'")
    storage = create_storage("own", coerce="mine")
    assert backend_of(storage).given == {"coerce": "mine"}
    with pytest.raises(InvalidPayloadError):
        await storage.store_interaction("a", {"pair": (1, 2)})


ARGUMENTS = {
    "agent_id": "a",
    "interaction_id": "i",
    "interactions": [],
    "key": "k",
    "data": {},
    "change": lambda data: data,
    "document": Document("k", {}, 1, NOW),
    "ids": ["i"],
}
ALWAYS = {
    "open",
    "close",
    "health",
    "store_interaction",
    "get_interactions",
    "store_agent_state",
    "get_agent_state",
}
BEYOND = sorted(
    name for name, member in vars(Storage).items() if not name.startswith("_") and inspect.isfunction(member)
)


async def call(method: Any, arguments: dict[str, Any]) -> None:
    """Call a coroutine function or take the first of an iterator."""
    result = method(**arguments)
    await (result if inspect.isawaitable(result) else anext(result))


@pytest.mark.asyncio
@pytest.mark.parametrize("name", [name for name in BEYOND if name not in ALWAYS])
async def test_everything_beyond_is_refused(name) -> None:
    backend = Four()
    method = getattr(adapt(backend), name)
    wanted = [p for p, one in inspect.signature(method).parameters.items() if one.default is one.empty]
    arguments = {parameter: ARGUMENTS[parameter] for parameter in wanted}
    with pytest.raises(
        UnsupportedOperationError, match="Four has only the four methods of StorageBackend, not the"
    ):
        await call(method, arguments)
    assert backend.calls == []


@pytest.mark.asyncio
async def test_keywords_of_capabilities_are_refused() -> None:
    storage = adapt(Four())
    assert storage.capabilities == frozenset()
    for call in (
        lambda: storage.store_interaction("a", {}, interaction_id="i"),
        lambda: storage.store_interaction("a", {}, timestamp=NOW),
    ):
        with pytest.raises(UnsupportedOperationError, match=Capability.IDEMPOTENT_APPEND.name):
            await call()
    with pytest.raises(UnsupportedOperationError, match=Capability.VERSIONED_STATE.name):
        await storage.store_agent_state("a", {}, expected_version=0)
    assert await storage.store_interaction("a", {}, interaction_id=None, timestamp=None) == "id-1"


def test_durable_and_multiprocess_are_those_of_the_backend() -> None:
    class Fleeting(Four):
        durable = False
        multiprocess = False

    assert (adapt(Fleeting()).durable, adapt(Fleeting()).multiprocess) == (False, False)
    assert (adapt(Four()).durable, adapt(Four()).multiprocess) == (True, True)


# --- life ---------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_where_a_store_is_missing_is_the_backends_to_say() -> None:
    class OnFiles(Four):
        async def missing_store(self) -> str | None:
            return "/data"

    assert await adapt(Four()).missing_store() is None
    backend = OnFiles()
    assert await adapt(backend).missing_store() == "/data"
    assert life(backend) == []  # nothing was opened for it


def life(backend: Four) -> list[str]:
    return [call[0] for call in backend.calls if call[0] in ("open", "close")]


@pytest.mark.asyncio
async def test_it_opens_at_the_first_use_and_closes_once() -> None:
    backend = Four()
    storage = adapt(backend)
    await asyncio.gather(*(storage.store_interaction("a", {"n": n}) for n in range(5)))
    await storage.open()
    assert life(backend) == ["open"]
    await storage.close()
    await storage.close()
    assert life(backend) == ["open", "close"]


@pytest.mark.asyncio
async def test_a_block_opens_and_closes_it() -> None:
    backend = Four()
    async with adapt(backend) as storage:
        assert life(backend) == ["open"]
        await storage.get_agent_state("a")
    assert life(backend) == ["open", "close"]


@pytest.mark.asyncio
async def test_one_that_was_never_opened_is_closed_all_the_same() -> None:
    backend = Four()
    await adapt(backend).close()
    assert life(backend) == ["close"]


@pytest.mark.asyncio
async def test_after_closing_every_use_is_refused() -> None:
    backend = Four()
    storage = adapt(backend)
    await storage.close()
    for call in (
        storage.open,
        storage.health,
        lambda: storage.store_interaction("a", {}),
        lambda: storage.get_interactions("a"),
        lambda: storage.store_agent_state("a", {}),
        lambda: storage.get_agent_state("a"),
    ):
        with pytest.raises(StorageClosedError, match="the storage is closed"):
            await call()
    assert life(backend) == ["close"]


@pytest.mark.asyncio
async def test_closing_waits_for_the_calls_under_way_and_lets_none_in() -> None:
    class Slow(Four):
        def __init__(self) -> None:
            super().__init__()
            self.entered = asyncio.Event()
            self.go_on = asyncio.Event()

        async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
            self.entered.set()
            await self.go_on.wait()
            return await super().get_agent_state(agent_id)

    backend = Slow()
    storage = adapt(backend)
    reading = asyncio.create_task(storage.get_agent_state("a"))
    await backend.entered.wait()
    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    late = asyncio.create_task(storage.get_interactions("a"))
    await asyncio.sleep(0)
    assert life(backend) == ["open"]
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    closing = asyncio.create_task(storage.close())
    backend.go_on.set()
    await closing
    assert await reading is None
    with pytest.raises(StorageClosedError):
        await late
    assert [call[0] for call in backend.calls] == ["open", "get_agent_state", "close"]


@pytest.mark.asyncio
async def test_a_failed_opening_is_tried_again_and_its_error_passed_on() -> None:
    class Absent(Four):
        down = True

        async def open(self) -> None:
            await super().open()
            if self.down:
                raise StorageConnectionError("no server at db:5432; start it")

    backend = Absent()
    storage = adapt(backend)
    with pytest.raises(StorageConnectionError, match="no server at db:5432"):
        await storage.store_interaction("a", {})
    health = await storage.health()
    assert (health.ok, health.backend, health.error) == (False, "Absent", "no server at db:5432; start it")
    backend.down = False
    assert await storage.store_interaction("a", {}) == "id-1"
    assert (await storage.health()).ok


@pytest.mark.asyncio
async def test_health_tells_no_driver_message() -> None:
    class Leaky(Four):
        async def open(self) -> None:
            raise OSError("cannot connect to x://me:s3cret@db")

    health = await adapt(Leaky()).health()
    assert (health.ok, health.error) == (False, "OSError")


@pytest.mark.asyncio
async def test_health_asks_a_backend_that_connects_only_when_it_is_used() -> None:
    class Away(Four):
        async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
            raise StorageConnectionError("no server at db:5432; start it")

    health = await adapt(Away()).health()
    assert (health.ok, health.error, health.latency) == (False, "no server at db:5432; start it", None)
    there = await adapt(Four()).health()
    assert there.ok
    assert there.latency is not None


def test_it_may_be_used_from_one_loop_after_another() -> None:
    backend = Four()
    storage = adapt(backend)
    for n in range(3):
        asyncio.run(storage.store_interaction("a", {"n": n}))
    asyncio.run(storage.close())
    assert len(backend.log) == 3
    assert life(backend) == ["open", "close"]
