"""What the commands do about damaged records: each is named, the rest can be had, and the status tells."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from oacp_command import call
from oacp_storage.copying import copy_storage
from oacp_storage.damaged import SHOWN, Damages, stop, undamaged, undamaged_documents
from oacp_storage_core import CorruptDataError, Document, Storage, open_storage

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with two agents and system state, in which some of everything of alice is damaged."""
    path = tmp_path / "store.db"

    async def fill(storage: Storage) -> None:
        for agent in ("alice", "bob"):
            learning = {f"key-{number:02}": {"n": number} for number in range(30)}
            said = [{"n": number} for number in range(1, 11)]
            await storage.record_turn(agent, interactions=said, state={"mood": "good"}, learning=learning)
        for number in range(3):
            await storage.store_system_state(f"setting-{number}", {"n": number})

    asyncio.run(in_storage(f"sqlite:///{path}", fill))
    alice = "agent = (SELECT ref FROM oacp_agents WHERE name = 'alice')"
    damage(path, f"oacp_interactions SET body = '{{\"n\":99}}' WHERE sequence IN (4, 9) AND {alice}")
    damage(path, f"oacp_documents SET body = '{{}}' WHERE key IN ('', 'key-00', 'key-25') AND {alice}")
    damage(path, "oacp_system SET body = '{}' WHERE key = 'setting-1'")
    return path


def damage(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(f"UPDATE {change}").rowcount > 0


async def in_storage(url: str, work) -> None:
    async with open_storage(url) as storage:
        await work(storage)


def test_show(database: Path, capsys: Capture) -> None:
    ran = call(capsys, "show", "alice", f"sqlite:///{database}", "--last", "5")
    assert (ran.status, ran.err) == (1, "")
    assert "#10 " in ran.out
    assert "#9 " not in ran.out
    damaged = [line for line in ran.out.splitlines() if line.startswith("damaged: ")]
    assert [line.split(" is damaged")[0] for line in damaged] == [
        "damaged: interaction 9 of agent 'alice'",
        "damaged: the state of agent 'alice'",
        "damaged: the learning data 'key-00' of agent 'alice'",
        "damaged: the learning data 'key-25' of agent 'alice'",
    ]
    shown = json.loads(call(capsys, "show", "alice", f"sqlite:///{database}", "--json").out)
    assert [one["sequence"] for one in shown["interactions"]] == [1, 2, 3, 5, 6, 7, 8, 10]
    assert len(shown["learning"]) == 28
    assert len(shown["damaged"]) == 5
    assert call(capsys, "show", "bob", f"sqlite:///{database}").status == 0


def test_agents(database: Path, capsys: Capture) -> None:
    damage(database, "oacp_interactions SET body = '{}' WHERE sequence = 10")
    ran = call(capsys, "agents", f"sqlite:///{database}")
    assert ran.status == 1
    rows = {line.split()[-1]: line for line in ran.out.splitlines() if line.strip()}
    assert rows["alice"].split() == ["10", "damaged", "damaged", "alice"]
    assert rows["bob"].split() == ["10", "damaged", "version", "1", "bob"]
    assert sum(line.startswith("damaged: ") for line in ran.err.splitlines()) == 3
    ran = call(capsys, "agents", f"sqlite:///{database}", "--json")
    assert ran.status == 1
    alice, bob = map(json.loads, ran.out.splitlines())
    assert (alice["newest"], alice["state_version"], len(alice["damaged"])) == (None, None, 2)
    assert (bob["newest"], bob["state_version"], len(bob["damaged"])) == (None, 1, 1)


def test_compare_goes_on_and_names_the_store(database: Path, tmp_path: Path, capsys: Capture) -> None:
    damaged, whole = f"sqlite:///{database}", f"file://{tmp_path}/copy"
    assert call(capsys, "copy", damaged, whole, "--skip-damaged").status == 1
    for stores, which in (((damaged, whole), "first"), ((whole, damaged), "second")):
        ran = call(capsys, "compare", *stores)
        assert (ran.status, ran.err) == (1, "")
        named = [line for line in ran.out.splitlines() if line.startswith(f"damaged in the {which}: ")]
        assert len(named) == 6
        assert "6 differ" in ran.out


def test_compare_tells_of_a_damaged_record_once(tmp_path: Path, capsys: Capture) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"

    async def fill(storage: Storage) -> None:
        await storage.record_turn("a", interactions=[{"n": 1}, {"n": 2}], state={"n": 1}, learning={"k": {}})

    asyncio.run(in_storage(f"sqlite:///{one}", fill))
    assert call(capsys, "copy", f"sqlite:///{one}", f"sqlite:///{other}").status == 0
    damage(one, "oacp_interactions SET body = '{\"n\":9}' WHERE sequence = 1")
    damage(one, "oacp_documents SET body = '{\"n\":9}'")
    ran = call(capsys, "compare", f"sqlite:///{one}", f"sqlite:///{other}")
    assert ran.status == 1
    assert [line.partition(":")[0] for line in ran.out.splitlines()[:-1]] == ["damaged in the first"] * 3
    assert "3 differ" in ran.out


def test_export(database: Path, tmp_path: Path, capsys: Capture) -> None:
    ran = call(capsys, "export", f"sqlite:///{database}", tmp_path / "out")
    assert ran.status == 1
    assert "damaged, left out: interaction 4 of agent 'alice' is damaged" in ran.err
    assert ran.err.endswith(f"18 interactions of 2 agents written to {tmp_path / 'out'}\n")


def test_copy_stops_at_the_first_and_says_how_to_go_on(
    database: Path, tmp_path: Path, capsys: Capture
) -> None:
    source, target = f"sqlite:///{database}", f"file://{tmp_path}/copy"
    ran = call(capsys, "copy", source, target)
    assert (ran.status, ran.out) == (3, "")
    assert "alice" in ran.err
    assert ran.err.endswith("; to copy the rest, run it with --skip-damaged\n")
    ran = call(capsys, "copy", source, target, "--skip-damaged")
    assert ran.status == 1
    assert ran.out == "18 interactions and 61 documents of 2 agents are in the target, all compared\n"
    named = [line.split(" is damaged")[0] for line in ran.err.splitlines()]
    assert sorted(named) == [
        "damaged, left out: interaction 4 of agent 'alice'",
        "damaged, left out: interaction 9 of agent 'alice'",
        "damaged, left out: the learning data 'key-00' of agent 'alice'",
        "damaged, left out: the learning data 'key-25' of agent 'alice'",
        "damaged, left out: the state of agent 'alice'",
        "damaged, left out: the system state 'setting-1'",
    ]
    # What is there already is compared, so a later run names the same.
    again = call(capsys, "copy", source, target, "--skip-damaged")
    assert (again.status, again.out) == (1, ran.out)
    assert sorted(again.err.splitlines()) == sorted(ran.err.splitlines())


def test_what_an_earlier_copy_left_out_is_told_of_when_it_is_whole_again(
    database: Path, tmp_path: Path, capsys: Capture
) -> None:
    source, target = f"sqlite:///{database}", f"file://{tmp_path}/copy"
    assert call(capsys, "copy", source, target, "--skip-damaged").status == 1
    damage(database, "oacp_interactions SET body = printf('{\"n\":%d}', sequence)")
    ran = call(capsys, "copy", source, target, "--skip-damaged")
    assert ran.status == 1
    assert "damaged, left out: 2 of agent 'alice' that an earlier copy left out\n" in ran.err


def test_damage_of_the_target_stops_a_copy(tmp_path: Path, capsys: Capture) -> None:
    source, other = f"sqlite:///{tmp_path}/source.db", tmp_path / "other.db"

    async def fill(storage: Storage) -> None:
        await storage.store_interactions("a", [{"n": n} for n in range(5)])

    asyncio.run(in_storage(source, fill))
    assert call(capsys, "copy", source, f"sqlite:///{other}").status == 0
    for sequence in (3, 5):  # in the middle, and the newest
        damage(other, f"oacp_interactions SET body = '{{}}' WHERE sequence = {sequence}")
        ran = call(capsys, "copy", source, f"sqlite:///{other}")
        assert ran.status == 3
        assert ran.err.startswith("oacp-storage: in the target: interaction 3 of agent 'a' is damaged")
    ran = call(capsys, "copy", source, f"sqlite:///{other}", "--skip-damaged")
    assert (ran.status, ran.err.count("damaged, left out: in the target: interaction")) == (1, 2)


@pytest.mark.asyncio
async def test_a_copy_goes_on_where_its_last_record_is_damaged_since(database: Path, tmp_path: Path) -> None:
    source_url, target_url = f"sqlite:///{database}", f"sqlite:///{tmp_path}/copy.db"
    async with open_storage(source_url) as source, open_storage(target_url) as target:
        await copy_storage(source, target, skip_damaged=True)
        await source.store_interaction("bob", {"n": 11})
    damage(database, "oacp_interactions SET body = '{}' WHERE sequence = 10")
    async with open_storage(source_url) as source, open_storage(target_url) as target:
        with pytest.raises(CorruptDataError, match=r"interaction 10|alice"):
            await copy_storage(source, target)
        summary = await copy_storage(source, target, skip_damaged=True)
        assert summary.interactions == 19
        assert sum("interaction 10 of agent" in reason for reason in summary.left_out.reasons) == 2
        assert [one["n"] for one in await target.get_interactions("bob", limit=2)] == [10, 11]


class Stuck:
    """An iteration that does not get past a damaged record."""

    def __aiter__(self) -> Stuck:
        return self

    async def __anext__(self) -> int:
        raise CorruptDataError("page 7 cannot be read")


@pytest.mark.asyncio
async def test_what_there_is_no_way_past_ends_the_reading() -> None:
    damages = Damages()
    with pytest.raises(CorruptDataError, match="page 7"):
        _ = [one async for one in undamaged(Stuck(), damages)]
    assert damages.reasons == ["page 7 cannot be read"]

    async def page(*, after: str | None, limit: int) -> list[Document]:
        raise CorruptDataError("page 7 cannot be read")

    with pytest.raises(CorruptDataError, match="page 7"):
        _ = [one async for one in undamaged_documents(page, damages)]
    assert damages.count == 1
    with pytest.raises(CorruptDataError, match="page 7"):
        _ = [one async for one in undamaged(Stuck(), stop)]


def test_all_are_counted_and_the_first_are_kept() -> None:
    damages = Damages()
    for number in range(SHOWN + 5):
        damages(CorruptDataError(f"record {number}"))
    assert (damages.count, len(damages.reasons)) == (SHOWN + 5, SHOWN)
