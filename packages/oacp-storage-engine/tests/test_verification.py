"""Verification: everything is read, every damage reported, and an interruption is no end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from memory_engine import FakeStorage, MemoryEngine, damage_document, damage_record
from oacp_storage_core import (
    Damage,
    Document,
    Interaction,
    StorageClosedError,
    StorageConnectionError,
    StorageError,
)
from oacp_storage_engine import DocKind, DocRef, NotApplied, verification
from oacp_storage_engine.log_iterators import PageSize
from virtual_loop import run


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "STREAMED", PageSize(3, 1000))
    monkeypatch.setattr(verification, "_AGENTS", 2)
    monkeypatch.setattr(verification, "_DOCUMENTS", 2)


class Checking(MemoryEngine):
    """With a check of its own, which does what its script says."""

    script: list[Damage | Exception]

    async def check(self) -> AsyncIterator[Damage]:
        self.calls.append("check")
        for step in list(self.script):
            await asyncio.sleep(1)
            if isinstance(step, Exception):
                self.script.remove(step)
                raise step
            yield step


class CheckingStorage(FakeStorage):
    script: list[Damage | Exception]

    def _make_engine(self) -> MemoryEngine:
        engine = Checking(self.store, self.namespace)
        engine.script = self.script
        self.engines.append(engine)
        return engine


async def filled(*script: Damage | Exception) -> CheckingStorage:
    storage = CheckingStorage()
    storage.script = list(script)
    for agent in ("ann", "bob", "cay"):
        await storage.store_interactions(agent, [{"n": n} for n in range(7)])
        await storage.store_agent_state(agent, {"n": 1})
        for key in "klm":
            await storage.store_learning_data(agent, key, {"n": 2})
    for key in "xyz":
        await storage.store_system_state(key, {"n": 3})
    return storage


def test_a_sound_store_has_no_damage() -> None:
    async def main() -> None:
        async with await filled() as storage:
            assert [one async for one in storage.verify()] == []
            assert [one async for one in FakeStorage().verify()] == []

    run(main())


def test_every_damage_is_reported_with_its_place() -> None:
    async def main() -> None:
        async with await filled(Damage("store", "a page is torn")) as storage:
            tenant = storage.store.tenant()
            for agent, sequence in (("ann", 1), ("ann", 7), ("cay", 4)):
                damage_record(tenant, agent, sequence, body=b'{"n":99}')
            damage_record(tenant, "bob", 5, sequence=4)
            for ref in (
                DocRef("bob", DocKind.STATE, ""),
                DocRef("cay", DocKind.LEARNING, "m"),
                DocRef(None, DocKind.SYSTEM, "y"),
            ):
                damage_document(tenant, ref, body=b'{"n":99}')
            found = [(one.kind, one.agent_id, one.sequence, one.key) async for one in storage.verify()]
            assert found == [
                ("store", None, None, None),
                ("interaction", "ann", 1, None),
                ("interaction", "ann", 7, None),
                ("interaction", "bob", 4, None),
                ("agent_state", "bob", None, None),
                ("interaction", "cay", 4, None),
                ("learning_data", "cay", None, "m"),
                ("system_state", None, None, "y"),
            ]

    run(main())


def test_a_sequence_after_the_head_is_damage() -> None:
    async def main() -> None:
        async with await filled() as storage:
            storage.store.tenant().heads["ann"] = 6
            (found,) = [one async for one in storage.verify()]
            assert (found.kind, found.agent_id, found.sequence) == ("interaction", "ann", 7)
            assert "last assigned is 6" in found.reason

    run(main())


@pytest.mark.parametrize(
    ("error", "expected"), [(NotApplied("away"), StorageConnectionError), (KeyError("secret"), StorageError)]
)
def test_an_interrupted_check_is_told_and_done_again(error: Exception, expected: type[Exception]) -> None:
    async def main() -> None:
        torn = Damage("store", "a page is torn")
        async with await filled(torn, error, torn) as storage:
            verifying = storage.verify()
            assert await anext(verifying) == torn
            with pytest.raises(expected) as caught:
                await anext(verifying)
            assert "secret" not in str(caught.value)
            assert [one async for one in verifying] == [torn, torn]

    run(main())


def test_a_cancelled_step_is_done_again() -> None:
    async def main() -> None:
        async with await filled() as storage:
            damage_record(storage.store.tenant(), "cay", 4, body=b"{}")
            verifying: Any = storage.verify()
            cancelled = 0
            found: list[Damage] = []
            while not found:
                task = asyncio.ensure_future(anext(verifying))
                for _ in range(cancelled % 5):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                cancelled += task.cancelled()
                found += [] if task.cancelled() else [task.result()]
            assert cancelled > 10
            assert [one.sequence for one in found] == [4]
            assert [one async for one in verifying] == []

    run(main())


def test_a_long_check_has_no_timeout_and_close_ends_verification() -> None:
    async def main() -> None:
        storage = await filled(Damage("store", "x"), Damage("store", "y"))
        engine = storage.engines[0]
        assert isinstance(engine, Checking)
        verifying = storage.verify()
        await anext(verifying)
        await storage.close()
        with pytest.raises(StorageClosedError):
            await anext(verifying)

    run(main())


def test_what_was_imported_with_holes_is_sound() -> None:
    async def main() -> None:
        now = datetime.now(UTC)
        async with FakeStorage() as storage:
            records = [Interaction("ann", f"i{n}", n, now, {}) for n in (2, 3, 9, 14)]
            await storage.import_records("ann", interactions=records, state=Document("", {}, 7, now))
            assert [one async for one in storage.verify()] == []

    run(main())
