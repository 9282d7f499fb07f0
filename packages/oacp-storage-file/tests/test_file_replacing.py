"""Documents are replaced atomically, by files that change places, and by a rename where that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from file_faults import CountingDisk, UnsyncedDisk
from file_world import World, put
from oacp_storage_engine import DocKind, Unit
from oacp_storage_file.disk import Disk, replace


class NoExchange(CountingDisk):
    """As on a system or a file system that cannot do it."""

    def exchange(self, one: str, other: str) -> bool:
        super().before("exchange")
        return False


def state(n: int) -> Unit:
    return Unit("a", (), (put("a", DocKind.STATE, "", {"n": n}),))


@pytest.mark.parametrize("kind", [CountingDisk, NoExchange])
def test_a_document_is_replaced_by_a_new_file(tmp_path: Path, kind: type[CountingDisk]) -> None:
    disk = kind()
    world = World(tmp_path / "store", disk)
    world.commit(state(1))
    file = Path(world.layout.absolute(world.names.document("a", DocKind.STATE, "")))
    with file.open("rb") as reader:  # somebody has it open, and reads what it opened to the end
        old = file.read_bytes()
        world.commit(state(2))
        assert reader.read() == old
    assert b'"n": 2' in file.read_bytes()
    assert list(Path(world.layout.temporary).iterdir()) == [], "nothing of the old document is left"
    assert "exchange" in disk.calls
    world.close()


def test_what_a_killed_process_left_is_not_written_to(tmp_path: Path) -> None:
    """It may be a document that was just replaced, and that a backup holds too."""
    world = World(tmp_path / "store", UnsyncedDisk())
    left = Path(world.layout.temporary, "0")
    left.write_text("what a backup holds")
    kept = tmp_path / "kept"
    kept.hardlink_to(left)
    world.commit(state(1))
    assert kept.read_text() == "what a backup holds"
    assert not left.exists()
    world.close()


@pytest.mark.parametrize("kind", [CountingDisk, NoExchange])
def test_a_directory_in_the_place_of_a_document_stays(tmp_path: Path, kind: type[CountingDisk]) -> None:
    """Somebody put it there. It is not taken away, and does not stand in the way of other documents either."""
    new, place = tmp_path / "new", tmp_path / "place"
    (place / "within").mkdir(parents=True)
    new.write_text("new")
    with pytest.raises(IsADirectoryError) as caught:
        replace(kind(), str(new), str(place))
    assert caught.value.filename2 == str(place)
    assert (place / "within").is_dir()
    assert new.read_text() == "new"


def test_files_change_places_or_stay(tmp_path: Path) -> None:
    one, other, missing = tmp_path / "one \udce4", tmp_path / "other", tmp_path / "missing"
    one.write_text("1")
    other.write_text("2")
    disk = Disk()
    if disk.exchange(str(one), str(other)):
        assert (one.read_text(), other.read_text()) == ("2", "1")
    assert disk.exchange(str(one), str(missing)) is False
    assert one.exists()
    assert not missing.exists()
    for target in (other, missing):
        one.write_text("new")
        replace(disk, str(one), str(target))
        assert target.read_text() == "new"
        assert not one.exists()
