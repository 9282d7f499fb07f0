"""Damaged files: whatever byte is not as it was, no wrong data is returned and no driver's error comes out."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from oacp_storage_core import CorruptDataError, Damage, Interaction, StorageError
from oacp_storage_sqlite import SQLiteStorage
from sqlite_testing import plain

PAGE = 4096
AGENTS = ("ann", "bob", "cid")
COUNT = 40
EVERYTHING = len(AGENTS) * (COUNT + COUNT + COUNT - 10)


def payload(agent: str, n: int) -> dict[str, Any]:
    return {"agent": agent, "n": n, "text": f"{n} " * (n * 7)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of about a hundred pages."""
    import asyncio

    path = tmp_path_factory.mktemp("sound") / "a.db"

    async def fill() -> None:
        async with SQLiteStorage(path) as storage:
            for n in range(1, COUNT + 1):
                for agent in AGENTS:
                    await storage.store_interaction(agent, payload(agent, n), interaction_id=f"id {n}")
            for agent in AGENTS:
                await storage.store_agent_state(agent, payload(agent, 0))
                for n in range(20):
                    await storage.store_learning_data(agent, f"key {n}", payload(agent, n))
            await storage.store_system_state("key", payload("", 1))

    asyncio.run(fill())
    return path


class Findings:
    """What reading a store brought to light."""

    def __init__(self) -> None:
        self.errors: list[StorageError] = []
        self.read = 0

    async def attempt(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except StorageError as exc:
            self.errors.append(exc)


async def log(
    storage: SQLiteStorage, agent: str, findings: Findings, **options: Any
) -> AsyncIterator[Interaction]:
    records = storage.iter_interactions(agent, **options)
    for _ in range(1000):
        try:
            yield await anext(records)
        except StopAsyncIteration:
            return
        except CorruptDataError as exc:
            findings.errors.append(exc)
            if exc.sequence is None:
                return
    raise AssertionError("the log has no end")


async def read_everything(storage: SQLiteStorage) -> Findings:
    """Reads in every way, and checks what comes back."""
    findings = Findings()

    async def check(agent: str) -> None:
        for options in ({}, {"reverse": True}, {"where": {"n": {"$gt": 10}}}):
            last = 0
            async for one in log(storage, agent, findings, **options):
                assert one.data == payload(agent, one.sequence)
                assert one.id == f"id {one.sequence}"
                assert one.sequence > last or "reverse" in options
                last = one.sequence
                findings.read += 1
        for n in range(1, COUNT + 1, 13):
            found = await storage.get_interaction(agent, f"id {n}")
            assert found is None or found.data == payload(agent, n)
        assert await storage.get_agent_state(agent) in (None, payload(agent, 0))
        for document in await storage.list_learning_data(agent):
            assert document.data == payload(agent, int(document.key.split()[1]))

    for agent in AGENTS:
        await findings.attempt(lambda agent=agent: check(agent))  # type: ignore[misc]
    await findings.attempt(lambda: expect(storage.get_system_state("key"), payload("", 1)))
    await findings.attempt(lambda: expect_names(storage.list_agents()))
    return findings


async def expect(reading: Awaitable[dict[str, Any] | None], wanted: dict[str, Any]) -> None:
    assert await reading in (None, wanted)


async def expect_names(listing: Awaitable[list[str]]) -> None:
    await listing  # names have no checksum of their own: what is listed wrongly has no readable records


async def verified(storage: SQLiteStorage) -> list[Damage]:
    return [damage async for damage in storage.verify()]


async def examine(path: Path) -> tuple[Findings, list[Damage] | StorageError]:
    storage = SQLiteStorage(path, timeout=5)
    try:
        findings = await read_everything(storage)
        try:
            return findings, await verified(storage)
        except StorageError as exc:
            return findings, exc
        finally:
            for agent in ("ann", "new"):
                await findings.attempt(lambda agent=agent: append(storage, agent))  # type: ignore[misc]
    finally:
        await storage.close()


async def append(storage: SQLiteStorage, agent: str) -> None:
    await storage.store_interaction(agent, {"n": "new"})
    await storage.store_agent_state(agent, {"n": "new"})


@pytest.mark.asyncio
async def test_a_sound_file_is_sound(sound: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sound, tmp_path))
    findings, damage = await examine(path)
    assert (findings.errors, damage) == ([], [])
    assert findings.read == EVERYTHING


def flip_bit(content: bytearray, page: int, dice: random.Random) -> None:
    content[page * PAGE + dice.randrange(PAGE)] ^= 1 << dice.randrange(8)


def garble(content: bytearray, page: int, dice: random.Random) -> None:
    start = page * PAGE + dice.randrange(PAGE - 200)
    content[start : start + 200] = dice.randbytes(200)


def blank(content: bytearray, page: int, dice: random.Random) -> None:
    content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def cut_off(content: bytearray, page: int, dice: random.Random) -> None:
    del content[page * PAGE + dice.randrange(PAGE) :]


@pytest.mark.asyncio
@pytest.mark.parametrize("harm", [flip_bit, garble, blank, cut_off])
async def test_no_wrong_data_and_no_drivers_errors(
    sound: Path, tmp_path: Path, harm: Callable[[bytearray, int, random.Random], None]
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    content = sound.read_bytes()
    noticed = 0
    for attempt in range(30):
        path = tmp_path / f"{attempt}.db"
        harmed = bytearray(content)
        harm(harmed, dice.randrange(len(content) // PAGE), dice)
        path.write_bytes(harmed)
        findings, damage = await examine(path)
        noticed += bool(findings.errors or damage)
        if [error for error in findings.errors if isinstance(error, CorruptDataError)]:
            assert damage, "verify finds whatever reading finds"
        if findings.read < EVERYTHING and not findings.errors:
            assert damage, "nothing is missing in silence"
    print(f"noticed {noticed} of 30")
    assert noticed >= (1 if harm is flip_bit else 5), "much of the file is in use"


@pytest.mark.asyncio
async def test_records_on_a_lost_page_are_named_one_by_one(sound: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sound, tmp_path))
    lost = page_of(path, "oacp_interactions")
    with path.open("r+b") as file:
        file.seek((lost - 1) * PAGE)
        file.write(b"\xff" * PAGE)
    async with SQLiteStorage(path) as storage:
        findings = Findings()
        read = {agent: [one.sequence async for one in log(storage, agent, findings)] for agent in AGENTS}
        named = {(exc.agent_id, exc.sequence) for exc in findings.errors if isinstance(exc, CorruptDataError)}
        assert named
        for agent in AGENTS:
            assert sorted([*read[agent], *[n for a, n in named if a == agent and n]]) == list(
                range(1, COUNT + 1)
            )
        reported = await verified(storage)
        assert {(one.agent_id, one.sequence) for one in reported if one.kind == "interaction"} == named
        assert any(one.kind == "store" for one in reported)
        victim, sequence = named.pop()
        with pytest.raises(CorruptDataError):
            await storage.get_interaction(str(victim), f"id {sequence}")


def page_of(path: Path, table: str) -> int:
    """A leaf page of the table."""
    with plain(path) as connection:
        try:
            rows = connection.execute(
                "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,)
            ).fetchall()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")
    return int(rows[len(rows) // 2][0])


@pytest.mark.asyncio
async def test_a_sound_record_at_the_place_of_another_is_damage(sound: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sound, tmp_path))
    with plain(path) as connection:  # as one bit of an index would have it that leads to another row
        for old, new in ((3, -1), (7, 3), (-1, 7)):
            connection.execute(
                "UPDATE oacp_interactions SET sequence = ? WHERE sequence = ? AND agent = "
                "(SELECT ref FROM oacp_agents WHERE name = 'ann')",
                (new, old),
            )
    async with SQLiteStorage(path) as storage:
        for options in ({}, {"reverse": True}, {"where": {"n": 5}}):
            findings = Findings()
            read = [one.sequence async for one in log(storage, "ann", findings, **options)]
            assert not {3, 7} & set(read)
            assert {exc.sequence for exc in findings.errors if isinstance(exc, CorruptDataError)} == {3, 7}
        assert {one.sequence for one in await verified(storage)} == {3, 7}


@pytest.mark.asyncio
async def test_rows_that_belong_to_nothing_are_reported(sound: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sound, tmp_path))
    with plain(path) as connection:
        connection.execute("DELETE FROM oacp_agents WHERE name = 'bob'")
    async with SQLiteStorage(path) as storage:
        reasons = [damage.reason for damage in await verified(storage)]
    assert len(reasons) == 2
    assert "40 interactions belong to no agent" in reasons[0]
    assert "21 documents belong to no agent" in reasons[1]
