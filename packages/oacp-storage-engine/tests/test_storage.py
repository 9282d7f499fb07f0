"""``EngineStorage`` beyond what the suite proves: failing reads, health, updates, deletions in steps, limits."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryEngine
from oacp_storage_core import (
    Document,
    DuplicateIdError,
    Health,
    Interaction,
    SchemaVersionError,
    StorageError,
    StorageTimeoutError,
    VersionConflictError,
)
from oacp_storage_engine import Info, NotApplied, Rejected, Unknown
from scripted_engine import ScriptedEngine, ScriptedStorage, outcome_of
from virtual_loop import START, run


class FailingReads(MemoryEngine):
    """Each primitive that reads first raises what its script says. A number is seconds that it takes."""

    script: list[Exception | float]

    async def _turn(self, primitive: str, deadline: float | None = None) -> None:
        await super()._turn(primitive, deadline)
        if primitive in ("read_docs", "read_log", "inspect", "scan_agents") and self.is_open and self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            await asyncio.sleep(step)


class ReadingStorage(FakeStorage):
    def __init__(self, *script: Exception | float, timeout: float = 30.0) -> None:
        self.script = list(script)
        super().__init__(timeout=timeout)

    def _make_engine(self) -> MemoryEngine:
        engine = FailingReads(self.store)
        engine.script = self.script
        self.engines.append(engine)
        return engine


# --- reads ------------------------------------------------------------------------------------------------


def test_a_read_is_repeated_when_the_connection_is_lost() -> None:
    async def main() -> None:
        async with ReadingStorage(NotApplied("away"), Unknown("lost"), NotApplied("away")) as storage:
            assert await storage.get_agent_state("ann") is None
            assert storage.engines[0].calls.count("read_docs") == 4

    run(main())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (SchemaVersionError("version 9"), SchemaVersionError),
        (Rejected("no such thing"), StorageError),
        (KeyError("password=secret"), StorageError),
        (TimeoutError("of the driver"), StorageTimeoutError),
    ],
)
def test_other_errors_of_a_read_reach_the_caller_in_words_for_it(
    raised: Exception, expected: type[StorageError]
) -> None:
    async def main() -> None:
        async with ReadingStorage(raised) as storage:
            error = await outcome_of(storage.get_agent_state("ann"))
            assert type(error) is expected
            assert "secret" not in str(error)
            assert error is raised or isinstance(error.__cause__, Exception)

    run(main())


@pytest.mark.parametrize("step", [1e6, NotApplied("away")])
def test_a_read_ends_in_its_time(step: Exception | float) -> None:
    async def main() -> None:
        async with ReadingStorage(*[step] * 1000, timeout=5.0) as storage:
            error = await outcome_of(storage.get_agent_state("ann"))
            assert isinstance(error, StorageTimeoutError)
            assert "within 5 s" in str(error)
            assert asyncio.get_running_loop().time() == pytest.approx(START + 5, abs=0.1)
            storage.script.clear()

    run(main())


# --- health -----------------------------------------------------------------------------------------------


def test_health_tells_what_the_store_says() -> None:
    async def main() -> None:
        async with ReadingStorage(0.25) as storage:
            health = await storage.health()
            assert health == Health(
                ok=True,
                backend="ReadingStorage",
                latency=health.latency,
                server_version="1.0",
                schema_version=1,
                durability="none",
                warnings=("everything is lost when this process ends",),
            )
            assert health.latency == pytest.approx(0.25)

    run(main())


@pytest.mark.parametrize("step", [1e6, NotApplied("connection refused"), KeyError("password=secret")])
def test_health_of_an_absent_server_is_told_soon(step: Exception | float) -> None:
    async def main() -> None:
        async with ReadingStorage(*[step] * 1000) as storage:
            await storage.open()
            health = await storage.health()
            assert not health.ok
            assert health.latency is None
            assert health.error
            assert "secret" not in health.error
            assert asyncio.get_running_loop().time() <= START + 5.1
            storage.script.clear()
            assert (await storage.health()).ok

    run(main())


@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_health_of_a_server_that_was_never_there(seconds: float) -> None:
    async def main() -> None:
        engines = [ScriptedEngine(), ScriptedEngine()]
        engines[0].open_error, engines[0].open_seconds = NotApplied("connection refused"), seconds
        storage = ScriptedStorage(*engines)
        health = await storage.health()
        assert not health.ok
        assert asyncio.get_running_loop().time() <= START + 6.1
        await storage.close()

    run(main())


# --- updates ----------------------------------------------------------------------------------------------


def test_change_gets_a_copy_of_its_own_and_may_return_it() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            given: list[Any] = []

            def add(data: dict[str, Any] | None) -> dict[str, Any]:
                data = data or {"n": 0, "list": []}
                data["n"] += 1
                data["list"].append(data["n"])
                given.append(data)
                return data

            first = await storage.update_agent_state("ann", add)
            second = await storage.update_agent_state("ann", add)
            assert first is not None
            assert second is not None
            assert (second.version, second.data) == (2, {"n": 2, "list": [1, 2]})
            given[1]["list"].append("spoilt")
            second.data["n"] = "spoilt"
            assert await storage.get_agent_state("ann") == {"n": 2, "list": [1, 2]}
            assert first.data == {"n": 1, "list": [1]}

    run(main())


def test_change_that_spoils_its_argument_and_writes_nothing_spoils_nothing() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await storage.store_system_state("k", {"n": 1})

            async def spoil(data: dict[str, Any] | None) -> None:
                assert data is not None
                data["n"] = "spoilt"

            document = await storage.update_system_state("k", spoil)
            assert document is not None
            assert (document.version, document.data) == (1, {"n": 1})
            assert await storage.update_system_state("none", lambda data: None) is None

    run(main())


def test_updates_at_once_from_two_storages_lose_nothing() -> None:
    async def main() -> None:
        async with FakeStorage() as one, FakeStorage(one.store) as other:

            async def count(storage: FakeStorage) -> None:
                for _ in range(10):
                    await storage.update_learning_data(
                        "ann", "k", lambda data: {"n": (data or {"n": 0})["n"] + 1}
                    )

            await asyncio.gather(*(count(storage) for storage in (one, other) for _ in range(5)))
            document = await one.get_learning_data_document("ann", "k")
            assert document is not None
            assert (document.version, document.data) == (100, {"n": 100})

    run(main())


def test_an_error_of_change_is_the_callers() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:

            def fail(data: dict[str, Any] | None) -> None:
                raise VersionConflictError.of("mine", 1, 2)

            with pytest.raises(VersionConflictError, match="mine"):
                await storage.update_agent_state("ann", fail)
            assert await storage.get_agent_state("ann") is None

    run(main())


# --- refusals ---------------------------------------------------------------------------------------------


def test_refusals_say_what_was_wrong_and_what_to_do() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            await storage.store_interaction("ann", {"n": 1}, interaction_id="x")
            with pytest.raises(
                DuplicateIdError, match=r"'x' of agent 'ann' is sequence 1, with another payload"
            ):
                await storage.store_interaction("ann", {"n": 2}, interaction_id="x")
            records = [Interaction("ann", "x", 0, datetime.now(UTC), {"n": 2})]
            with pytest.raises(DuplicateIdError, match=r"repeat a turn exactly as it was"):
                await storage.record_turn("ann", interactions=records)
            twice = [Interaction("ann", "y", 0, datetime.now(UTC), {"n": n}) for n in range(2)]
            with pytest.raises(DuplicateIdError, match=r"'y' of agent 'ann' occurs earlier in this call"):
                await storage.store_interactions("ann", twice)
            with pytest.raises(DuplicateIdError, match=r"'x'.* cannot be imported at sequence 7"):
                await storage.import_records(
                    "ann", interactions=[Interaction("ann", "x", 7, datetime.now(UTC), {"n": 1})]
                )
            with pytest.raises(VersionConflictError, match=r"the learning data 'k' of agent 'ann'") as caught:
                await storage.store_learning_data("ann", "k", {}, expected_version=3)
            assert (caught.value.expected, caught.value.actual) == (3, 0)

    run(main())


def test_a_replayed_turn_shows_what_is_there() -> None:
    async def main() -> None:
        async with FakeStorage() as storage:
            long_ago = datetime(2020, 1, 1, tzinfo=UTC)
            records = [Interaction("ann", f"i{n}", 0, long_ago, {"n": n}) for n in range(2)]
            first = await storage.record_turn(
                "ann", interactions=records, state={"s": 1}, learning={"k": {"l": 1}}
            )
            await storage.store_agent_state("ann", {"s": 2})
            later = [Interaction("ann", one.id, 0, datetime.now(UTC), one.data) for one in records]
            again = await storage.record_turn(
                "ann", interactions=later, state={"s": 3}, learning={"k": {"l": 3}, "m": {}}
            )
            assert again.replayed
            assert again.interactions == first.interactions
            assert again.state is not None
            assert (again.state.version, again.state.data) == (2, {"s": 2})
            assert {key: one.data for key, one in again.learning.items()} == {"k": {"l": 1}}
            assert await storage.record_turn("ann") == (await storage.record_turn("ann"))

    run(main())


# --- the rest -------------------------------------------------------------------------------------------


def test_warnings_of_the_store_are_logged_at_opening(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        engine.info = Info(warnings=("acknowledged writes may be lost: AOF is off",))
        async with ScriptedStorage(engine):
            pass

    run(main())
    assert "acknowledged writes may be lost: AOF is off" in caplog.text


def test_imports_are_checked_like_everything_else() -> None:
    async def main() -> None:
        now = datetime.now(UTC)
        async with FakeStorage() as storage:
            await storage.import_system_state(Document("k", {"n": 1}, 7, now))
            assert await storage.get_system_state_document("k") == Document("k", {"n": 1}, 7, now)
            with pytest.raises(ValueError, match="version"):
                await storage.import_system_state(Document("k", {}, 0, now))
            with pytest.raises(ValueError, match="sequence"):
                await storage.import_records("ann", interactions=[Interaction("ann", "x", 0, now, {})])
            assert await storage.list_agents() == []

    run(main())
