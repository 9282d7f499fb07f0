"""The directory: what is made in it, what is refused, and who may read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from oacp_storage_core import (
    SchemaVersionError,
    StorageConfigError,
    StorageError,
    create_storage,
    open_storage,
)
from oacp_storage_engine import Engine
from oacp_storage_file import FileStorage
from oacp_storage_file.disk import Disk
from oacp_storage_file.engine import FileEngine
from oacp_storage_file.format_mark import Upgrade
from oacp_storage_file.layout import SCHEMA, Layout
from oacp_storage_file.storage import parse_size


async def fill(storage: FileStorage) -> None:
    await storage.store_interaction("Alice", {"text": "hello"}, interaction_id="one")
    await storage.store_agent_state("Alice", {"n": 1})
    await storage.store_learning_data("Alice", "likes/tea", {"much": True})
    await storage.store_system_state("settings", {"n": 2})
    await storage.store_interaction("x" * 300, {"n": 1})


def every_path(root: Path) -> list[Path]:
    return [root, *root.rglob("*")]


@pytest.mark.asyncio
async def test_a_person_can_read_it(tmp_path: Path) -> None:
    root = tmp_path / "store"
    async with FileStorage(root) as storage:
        await fill(storage)
        # While the storage is open: nothing waits in memory or in the journal only.
        agent = root / "namespaces/n-default/agents/a-_41lice"
        assert json.loads((agent / "log-000000000001.jsonl").read_text())["data"] == {"text": "hello"}
        assert json.loads((agent / "state.json").read_text())["data"] == {"n": 1}
        assert json.loads((agent / "learning/k-likes_2ftea.json").read_text())["key"] == "likes/tea"
        assert json.loads((root / "namespaces/n-default/system/k-settings.json").read_text())["version"] == 1
    readme = (root / "README.md").read_text()
    for path in every_path(root):
        if path.is_file() and path.parent != root:
            described = re.sub(r"\d+", "000000000001", path.name) if path.suffix == ".jsonl" else path.name
            described = re.sub(r"^k-.*", "k-KEY.json", described)
            assert described in readme or ".oacp" in path.parts, path
    (hashed,) = root.glob("namespaces/n-default/agents/ah-*")
    assert json.loads((hashed / "agent.json").read_text())["agent_id"] == "x" * 300


@pytest.mark.asyncio
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_nobody_else_can_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with FileStorage(tmp_path / "store", auto_backup=True) as storage:
            await fill(storage)
            backup = await storage.backup()
            await storage.delete_interactions("Alice", keep_last=0)
            await storage.delete_agent("Alice")
        await FileStorage.restore(backup, tmp_path / "restored")
    finally:
        os.umask(before)
    for path in (*every_path(tmp_path / "store"), *every_path(tmp_path / "restored")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.asyncio
@pytest.mark.parametrize("content", ["file", "README.md", "namespaces/x", ".oacp-not/x"])
async def test_a_directory_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / content
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = every_path(tmp_path)
    with pytest.raises(StorageConfigError, match="name an empty or new directory"):
        await FileStorage(tmp_path).open()
    assert every_path(tmp_path) == before
    assert path.read_text() == "mine"


@pytest.mark.asyncio
async def test_a_fresh_git_repository_or_disk_is_empty_enough(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("own\n")
    (tmp_path / "lost+found").mkdir()
    async with FileStorage(tmp_path) as storage:
        await storage.store_interaction("a", {})
    assert (tmp_path / ".gitignore").read_text() == "own\n"


@pytest.mark.asyncio
async def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    for path in (tmp_path / "store", tmp_path / "store" / "below"):
        with pytest.raises(StorageConfigError, match=r"is not a directory|cannot be used"):
            await FileStorage(path).open()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("not json", "cannot be read as the mark"),
        ('{"format": "something else", "schema": 1}', "something else"),
        ('{"schema": 1}', "cannot be read as the mark"),
    ],
)
async def test_a_wrong_mark_is_refused(tmp_path: Path, mark: str, message: str) -> None:
    (tmp_path / "format.json").write_text(mark)
    with pytest.raises(StorageConfigError, match=message):
        await FileStorage(tmp_path).open()
    assert not (tmp_path / "namespaces/n-default").exists()


_READ_ONLY = """
import asyncio, os, sys
from oacp_storage_core import StorageConfigError
from oacp_storage_file import FileStorage

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)

async def main():
    for path in sys.argv[1:]:
        try:
            await FileStorage(path).open()
        except StorageConfigError as error:
            print(error)

asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    ours, empty = tmp_path / "ours", tmp_path / "empty"
    async with FileStorage(ours) as storage:
        await storage.store_interaction("a", {})
    empty.mkdir()
    for directory in (*tmp_path.parents, tmp_path):
        if (
            directory.owner() == tmp_path.owner()
            and os.access(directory, os.W_OK)
            and directory.name.startswith(("pytest", "test"))
        ):
            directory.chmod(0o755)
    for path in every_path(ours):
        path.chmod(0o555 if path.is_dir() else 0o444)
    empty.chmod(0o555)
    before = [(path, path.stat().st_mtime_ns) for path in (*every_path(ours), empty)]
    done = subprocess.run(
        [sys.executable, "-c", _READ_ONLY, ours, empty, empty / "below"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("make it writable for this user, or name another one") == 3, done.stdout
    assert [(path, path.stat().st_mtime_ns) for path in (*every_path(ours), empty)] == before


@pytest.mark.asyncio
async def test_a_store_that_vanishes_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "store", timeout=2)
    await storage.store_interaction("a", {"n": 1})
    (tmp_path / "store").rename(tmp_path / "moved")
    with pytest.raises(StorageError, match="removed or moved"):
        await storage.store_interaction("a", {"n": 2})
    with pytest.raises(StorageError, match="removed or moved"):
        await storage.get_interactions("a")
    await storage.close()
    async with FileStorage(tmp_path / "moved") as moved:
        assert await moved.count_interactions("a") == 1


def shout(_: Disk, layout: Layout) -> None:
    """An upgrade that can be repeated."""
    path = Path(layout.namespaces, "upgraded")
    path.write_text("yes")


class NewerEngine(FileEngine):
    schema: ClassVar[int] = SCHEMA + 1
    upgrades: ClassVar[Mapping[int, Upgrade]] = {SCHEMA + 1: shout}


class NewerStorage(FileStorage):
    def _make_engine(self) -> Engine:
        return NewerEngine(str(self.directory), self.namespace, max_file_size=10**8)


@pytest.mark.asyncio
async def test_an_older_store_is_upgraded_and_older_processes_are_refused(tmp_path: Path) -> None:
    old = FileStorage(tmp_path)
    await old.store_interaction("a", {"n": 1})
    async with NewerStorage(tmp_path) as new, NewerStorage(tmp_path) as another:
        assert (tmp_path / "namespaces/upgraded").read_text() == "yes"
        assert (await new.health()).schema_version == SCHEMA + 1
        await new.store_interaction("a", {"n": 2})
        await another.store_interaction("a", {"n": 3})
        for use in (old.store_interaction("a", {"n": 4}), old.get_interactions("a"), old.delete_agent("a")):
            with pytest.raises(SchemaVersionError, match=f"version {SCHEMA + 1}"):
                await use
        assert await new.count_interactions("a") == 3
    await old.close()
    with pytest.raises(SchemaVersionError, match=f"version {SCHEMA + 1}"):
        await FileStorage(tmp_path).open()


@pytest.mark.asyncio
async def test_an_interrupted_upgrade_is_taken_up_again(tmp_path: Path) -> None:
    async with FileStorage(tmp_path) as storage:
        await storage.store_interaction("a", {"n": 1})

    def fail(disk: Disk, layout: Layout) -> None:
        shout(disk, layout)
        raise OSError("interrupted")

    NewerEngine.upgrades = {SCHEMA + 1: fail}
    try:
        with pytest.raises(StorageError, match="interrupted"):
            await NewerStorage(tmp_path).open()
        assert json.loads((tmp_path / "format.json").read_text())["schema"] == SCHEMA
    finally:
        NewerEngine.upgrades = {SCHEMA + 1: shout}
    async with NewerStorage(tmp_path) as new:
        assert await new.count_interactions("a") == 1


@pytest.mark.parametrize(
    ("size", "number"),
    [
        ("100MB", 10**8),
        ("64MiB", 64 * 2**20),
        ("1.5kB", 1500),
        ("2 GiB", 2**31),
        ("10", 10),
        (1234, 1234),
        ("1b", 1),
    ],
)
def test_sizes(size: int | str, number: int) -> None:
    assert parse_size(size) == number


@pytest.mark.parametrize("size", ["", "MB", "-1", "0", 0, -5, True, "1XB", "1 M M", "ten", 1.5])
def test_wrong_sizes(size: int | str) -> None:
    with pytest.raises(StorageConfigError, match=r"is no size|must be int or str"):
        FileStorage("x", max_file_size=size)


def test_wrong_options() -> None:
    with pytest.raises(StorageConfigError, match="backup_interval"):
        FileStorage("x", backup_interval=0)
    with pytest.raises(StorageConfigError, match="backup_keep"):
        FileStorage("x", backup_keep=0)
    with pytest.raises(StorageConfigError, match="'auto_backup' must be bool, not str 'no'"):
        FileStorage("x", auto_backup="no")  # type: ignore[arg-type]
    with pytest.raises(StorageConfigError, match="directory is empty"):
        FileStorage("")


@pytest.mark.asyncio
async def test_urls(tmp_path: Path) -> None:
    directory = tmp_path / "with space & umlaut \u00e4"
    url = f"file://{tmp_path}/with%20space%20&%20umlaut%20%C3%A4?max_file_size=1kB&namespace=n"
    async with open_storage(url) as storage:
        await storage.store_interaction("a", {"text": "x" * 800})
        await storage.store_interaction("a", {"text": "x" * 800})
    assert len(list(directory.glob("namespaces/n-n/agents/a-a/log-*"))) == 2
    for wrong in ("file://relative/path", "file://host/path", "file:"):
        with pytest.raises(StorageConfigError):
            FileStorage.from_url(wrong)


@pytest.mark.asyncio
async def test_segments_rotate_at_the_size(tmp_path: Path) -> None:
    async with FileStorage(tmp_path, max_file_size=2000) as storage:
        for n in range(40):
            await storage.store_interaction("a", {"n": n, "text": "x" * 100})
        await storage.store_interactions("a", [{"n": n, "text": "x" * 3000} for n in range(40, 43)])
        assert [i["n"] for i in await storage.get_interactions("a", 1000)] == list(range(43))
        sizes = [path.stat().st_size for path in sorted(tmp_path.glob("namespaces/*/agents/*/log-*"))]
        assert max(sizes[:-3]) <= 2000
        assert len(sizes) > 5
        assert not [damage async for damage in storage.verify()]


def test_an_unknown_option_in_a_url_is_no_part_of_the_directory(tmp_path: Path) -> None:
    with pytest.raises(StorageConfigError, match=r"auto_bakup.*did you mean 'auto_backup'") as caught:
        create_storage(f"file://{tmp_path}/store?auto_bakup=true&token=s3cret")
    assert "s3cret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.asyncio
async def test_a_directory_below_a_dangling_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "dangling"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageConfigError, match="dangling"):
        await FileStorage(link / "store").open()
