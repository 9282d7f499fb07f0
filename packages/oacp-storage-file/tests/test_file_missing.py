"""Files that a person removes, or cuts, are missed: by reading, by verify, and in the counting of sequences."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from file_steps import check_manifests
from file_tamper import FileTamper
from file_world import World, contents, ids_of, put, said
from oacp_storage_core import CorruptDataError, Damage, Interaction
from oacp_storage_engine import Applied, DocKind, Unit
from oacp_storage_file import FileStorage
from oacp_storage_file.__main__ import main
from oacp_storage_file.backup import Backup
from oacp_storage_file.journal_format import LogWrite
from oacp_storage_file.missing import accept_command

LINE = 170  # bytes of an interaction here; five fill a file


async def fill(root: Path, first: int = 1, last: int = 20) -> None:
    """Interactions 1 to 20 of agent a in files of five, and one of every kind of document."""
    async with FileStorage(root, max_file_size=5 * LINE) as storage:
        for n in range(first, last + 1):
            await storage.store_interaction("a", {"n": n})
        await storage.store_interaction("b", {"n": 1})
        for n in range(3):
            await storage.store_agent_state("a", {"n": n})
        await storage.store_learning_data("a", "likes", {"tea": True})
        await storage.store_learning_data("a", "x" * 300, {})
        await storage.store_system_state("settings", {})


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("namespaces/n-default/agents/a-a/log-*"))


async def read(root: Path, **bounds: int | bool) -> list[int]:
    """The sequences as iterating gives them; an error as its sequence, negative."""
    found: list[int] = []
    async with FileStorage(root) as storage:
        history = storage.iter_interactions("a", **bounds)  # type: ignore[arg-type]  # a mixed dict
        while True:
            try:
                one: Interaction | None = await anext(history, None)
            except CorruptDataError as error:
                found.append(-(error.sequence or 0) if "missing" in str(error) else 0)
                continue
            if one is None:
                return found
            assert one.data == {"n": one.sequence}
            found.append(one.sequence)


async def damage_in(root: Path) -> list[Damage]:
    async with FileStorage(root) as storage:
        return [damage async for damage in storage.verify()]


@pytest.mark.asyncio
async def test_a_removed_file_in_the_middle_is_an_error_and_then_reading_goes_on(tmp_path: Path) -> None:
    await fill(tmp_path)
    files = segments(tmp_path)
    first, last = (int(file.stem[4:]) for file in files[1:3])
    files[1].unlink()
    before, after = list(range(1, first)), list(range(last, 21))
    assert await read(tmp_path) == [*before, -(last - 1), *after]
    assert await read(tmp_path, reverse=True) == [*after[::-1], -first, *before[::-1]]
    assert await read(tmp_path, after=first, before=last) == [-(last - 1)]
    assert await read(tmp_path, after=last - 1) == after
    assert await read(tmp_path, before=first) == before
    async with FileStorage(tmp_path) as storage:
        assert await storage.get_interactions("a", 3) == [{"n": n} for n in (18, 19, 20)]
        with pytest.raises(CorruptDataError, match=f"interactions {first} to {last - 1} are missing"):
            await storage.get_interactions("a")
        with pytest.raises(
            CorruptDataError, match=f"accept the loss: python -m oacp_storage_file accept {tmp_path}"
        ):
            await storage.count_interactions("a")
        assert await storage.get_interactions("b") == [{"n": 1}]
        (damage,) = [damage async for damage in storage.verify()]
        assert (damage.kind, damage.agent_id, damage.sequence) == ("interaction", "a", last - 1)
        assert str(files[1].parent) in damage.reason


@pytest.mark.asyncio
@pytest.mark.parametrize("removed", [1, 2, 99])
async def test_no_sequence_is_given_twice_after_the_last_files_went(tmp_path: Path, removed: int) -> None:
    await fill(tmp_path)
    gone = segments(tmp_path)[-removed:]
    first = int(gone[0].stem[4:])
    for file in gone:
        file.unlink()
    before = list(range(1, first))
    assert await read(tmp_path) == [*before, -20]
    await fill(tmp_path, 21, 23)
    assert await read(tmp_path) == [*before, -20, 21, 22, 23]
    assert await read(tmp_path, reverse=True) == [23, 22, 21, -first, *before[::-1]]
    assert [damage.sequence for damage in await damage_in(tmp_path)] == [20]


@pytest.mark.asyncio
@pytest.mark.parametrize("which", [1, -1])
async def test_a_file_that_was_cut_or_lost_lines_is_missed_as_well(tmp_path: Path, which: int) -> None:
    await fill(tmp_path)
    file = segments(tmp_path)[which]
    first = int(file.stem[4:])
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:1]))
    last = first + len(lines) - 1
    there = list(range(1, first + 1))
    assert await read(tmp_path) == [*there, -last, *range(last + 1, 21)]
    await fill(tmp_path, 21, 21)
    assert await read(tmp_path) == [*there, -last, *range(last + 1, 22)]
    file.write_bytes(b"".join(lines))  # put back
    assert await read(tmp_path) == list(range(1, 22))
    file.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert await read(tmp_path) == [*range(1, first + 1), -(first + 1), *range(first + 2, 22)]


@pytest.mark.asyncio
async def test_removed_documents_are_missed_until_they_are_stored_again_or_deleted(tmp_path: Path) -> None:
    await fill(tmp_path)
    namespace = tmp_path / "namespaces/n-default"
    (namespace / "agents/a-a/state.json").unlink()
    shutil.rmtree(namespace / "agents/a-a/learning")
    (namespace / "system/k-settings.json").unlink()
    found = await damage_in(tmp_path)
    assert {(damage.kind, damage.agent_id, damage.key) for damage in found} == {
        ("agent_state", "a", None),
        ("learning_data", "a", "likes"),
        ("learning_data", "a", None),  # whose name stood in it
        ("system_state", None, "settings"),
    }
    async with FileStorage(tmp_path) as storage:
        for use in (
            storage.get_agent_state("a"),
            storage.get_learning_data("a", "likes"),
            storage.list_learning_data("a"),
            storage.get_learning_data("a", "x" * 300),
            storage.get_system_state("settings"),
            storage.list_system_state(),
        ):
            with pytest.raises(CorruptDataError, match="removed by something else"):
                await use
        assert await storage.get_learning_data("a", "another") is None
        assert await storage.store_agent_state("a", {"n": 4}) == 4  # no version is given twice either
        assert await storage.delete_learning_data("a", "likes")
        assert not await storage.delete_learning_data("a", "likes")
        assert await storage.store_learning_data("a", "x" * 300, {}) == 2
        assert await storage.delete_system_state("settings")
        await check_nothing_missing(storage)
    async with FileStorage(tmp_path) as storage:  # after a checkpoint
        await check_nothing_missing(storage)


async def check_nothing_missing(storage: FileStorage) -> None:
    assert [damage async for damage in storage.verify()] == []
    assert await storage.get_learning_data("a", "likes") is None
    assert await storage.list_system_state() == []


@pytest.mark.asyncio
async def test_what_is_deleted_properly_is_not_missed(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with FileStorage(tmp_path, max_file_size=5 * LINE) as storage:
        log = [one async for one in storage.iter_interactions("a")]
        await storage.delete_interactions("a", ids=[log[0].id, log[7].id, log[19].id])
        await storage.delete_interactions("a", keep_last=15)
        await storage.delete_interactions("a", before=log[9].timestamp)
        await storage.delete_agent_state("a")
        await storage.delete_learning_data("a", "likes")
        await storage.delete_system_state("settings")
        left = list(range(10, 20))
        assert [one.sequence async for one in storage.iter_interactions("a")] == left
        assert await storage.count_interactions("a") == len(left)
        assert await storage.get_agent_state("a") is None
        assert [damage async for damage in storage.verify()] == []
        backup = await storage.backup()
        await storage.delete_learning_data("a", "x" * 300)
        await storage.delete_interactions("a", keep_last=0)
        assert [damage async for damage in storage.verify()] == []
        await storage.delete_agent("a")
        await storage.store_interaction("a", {"n": 21})
        assert [damage async for damage in storage.verify()] == []
    assert await read(tmp_path) == [21]
    assert await read(backup) == left
    assert await damage_in(tmp_path) == await damage_in(backup) == []


@pytest.mark.asyncio
async def test_what_another_process_deleted_since_the_last_checkpoint_is_not_missed(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with (
        FileStorage(tmp_path) as storage,
        FileStorage(tmp_path) as other,
        FileStorage(tmp_path) as third,
    ):
        await other.open()
        await third.open()
        await storage.delete_agent_state("a")
        assert await other.get_agent_state("a") is None
        assert await other.list_learning_data("a", prefix="l") != []
        await third.delete_learning_data("a", "likes")
        assert await other.list_learning_data("a", prefix="l") == []
        async with FileStorage(tmp_path) as newcomer:
            assert await newcomer.store_agent_state("a", {}) == 1
            assert await newcomer.store_learning_data("a", "likes", {}, expected_version=0) == 1


def test_a_backup_does_not_miss_what_was_deleted_while_it_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, other = World(tmp_path / "store"), World(tmp_path / "store")
    world.commit(Unit("a", said("a", "a1").appends, (put("a", DocKind.STATE, "", {"n": 1}),)))
    copying = Backup.copy_all

    def meanwhile(self: Backup) -> None:
        copying(self)
        other.commit(Unit("a", said("a", "a2").appends, (put("a", DocKind.STATE, "", None),)))

    monkeypatch.setattr(Backup, "copy_all", meanwhile)
    path = world.backup()
    assert path is not None
    world.close()
    other.close()
    check_manifests(Path(path), contents(Path(path)), exactly=True)
    assert ids_of(contents(Path(path)), "a") == ["a1", "a2"]


@pytest.mark.asyncio
async def test_retention_gives_up_what_is_missing_where_all_of_it_would_go(tmp_path: Path) -> None:
    await fill(tmp_path)
    for file in segments(tmp_path)[:2]:
        file.unlink()
    first = int(segments(tmp_path)[0].stem[4:])
    async with FileStorage(tmp_path) as storage:
        assert await storage.delete_interactions("a", keep_last=21 - first) == 0
        assert [damage async for damage in storage.verify()] == []
    assert await read(tmp_path) == list(range(first, 21))


def test_the_advice_can_be_pasted_whatever_the_directory_is_called() -> None:
    assert accept_command("/var/my agents") == "python -m oacp_storage_file accept '/var/my agents'"


@pytest.mark.asyncio
async def test_a_loss_can_be_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await fill(tmp_path)
    segments(tmp_path)[1].unlink()
    segments(tmp_path)[-1].unlink()
    (tmp_path / "namespaces/n-default/agents/a-a/state.json").unlink()
    left = [n for n in await read(tmp_path) if n > 0]
    assert main(["accept", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "namespaces/n-default/agents/a-a")]
    assert await damage_in(tmp_path) == []
    assert await read(tmp_path) == left
    await fill(tmp_path, 21, 21)
    assert await read(tmp_path) == [*left, 21]
    assert main(["accept", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", f"nothing is missing in {tmp_path}\n")


@pytest.mark.asyncio
async def test_a_removed_or_damaged_manifest_is_told(tmp_path: Path) -> None:
    await fill(tmp_path)
    agent = tmp_path / "namespaces/n-default/agents/a-a"
    (agent / "agent.json").unlink()
    (agent / "documents.json").write_text("{")
    reasons = [damage.reason for damage in await damage_in(tmp_path)]
    assert ["agent.json was removed" in reasons[0], "documents.json cannot be read" in reasons[1]] == [
        True
    ] * 2
    assert all(reason.endswith(f" python -m oacp_storage_file accept {tmp_path}") for reason in reasons)
    assert main(["accept", str(tmp_path)]) == 0
    assert await damage_in(tmp_path) == []
    segments(tmp_path)[0].unlink()
    assert [damage.kind for damage in await damage_in(tmp_path)] == ["interaction"]


@pytest.mark.asyncio
async def test_the_past_of_a_directory_under_version_control_is_whole(tmp_path: Path) -> None:
    """Checking out an older state is like restoring a backup, and what was not checked out is missed."""
    await fill(tmp_path)
    agents = tmp_path / "namespaces/n-default/agents"
    shutil.copytree(agents, tmp_path / "then")
    await fill(tmp_path, 21, 40)
    shutil.rmtree(agents)
    shutil.copytree(tmp_path / "then", agents)
    assert await damage_in(tmp_path) == []
    assert await read(tmp_path) == list(range(1, 21))
    await fill(tmp_path, 21, 25)
    assert await read(tmp_path) == list(range(1, 26))


def test_a_file_removed_from_a_store_in_use_costs_what_no_journal_has(tmp_path: Path) -> None:
    """And no process goes on writing to a file that has no name any more."""
    one, other = World(tmp_path), World(tmp_path)
    one.commit(said("a", "a1", "a2"), said("b", "b1"))
    one.checkpoint()
    one.commit(said("a", "a3"), Unit("a", (), (put("a", DocKind.STATE, "", {"n": 1}),)))
    other.commit(said("a", "a4"))
    (file,) = segments(tmp_path)
    file.unlink()
    file.with_name("state.json").unlink()
    assert one.commit(said("a", "a5")) == [Applied((5,))]
    one.checkpoint()
    for world, sequence in ((other, 6), (one, 7)):
        assert world.commit(said("a", f"a{sequence}")) == [Applied((sequence,))]
    one.close()
    other.close()
    tamper = FileTamper(tmp_path).segments("a", "default")
    text = b"".join(path.read_bytes() for path in tamper)
    assert [b'"id":"a%d"' % n in text for n in range(1, 8)] == [False] * 2 + [True] * 5
    assert file.with_name("state.json").exists()


@pytest.mark.asyncio
async def test_holes_of_an_import_are_not_missed(tmp_path: Path) -> None:
    async with FileStorage(tmp_path / "from") as source:
        for n in range(1, 9):
            await source.store_interaction("a", {"n": n}, interaction_id=f"i{n}")
        await source.delete_interactions("a", ids=["i1", "i4", "i5"])
        copied = [one async for one in source.iter_interactions("a")]
    async with FileStorage(tmp_path / "to", max_file_size=3 * LINE) as target:
        await target.import_records("a", interactions=copied)
        assert await target.count_interactions("a") == 5
    for root in (tmp_path / "from", tmp_path / "to"):
        assert await read(root) == [2, 3, 6, 7, 8]
        assert await damage_in(root) == []
    segments(tmp_path / "to")[-1].unlink()
    assert (await read(tmp_path / "to"))[-1] == -8


def test_a_journal_of_version_1_says_nothing_of_holes(tmp_path: Path) -> None:
    """Its writes have no ``first``; an upgraded store goes on from what it found."""
    world = World(tmp_path)
    world.commit(said("a", "a1"))
    world.checkpoint()
    with world.store.locked():
        line = b'{"torn'
        size = world.store.files.size("n-default/agents/a-a/log-000000000001.jsonl")
        world.store.write(
            [LogWrite("n-default/agents/a-a/log-000000000001.jsonl", size, len(line), 9)], [line]
        )
        world.store.checkpoint()
    world.close()
    assert ids_of(contents(tmp_path), "a") == ["a1"]
    assert contents(tmp_path)["agents"]["a"]["head"] == 9
