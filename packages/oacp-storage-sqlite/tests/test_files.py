"""Files: made where missing, recognised before anything is written, and refused with a reason."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oacp_storage_core import (
    StorageConfigError,
    StorageConnectionError,
    StorageError,
    create_storage,
)
from oacp_storage_sqlite import SQLiteStorage
from oacp_storage_sqlite.database import Settings
from sqlite_testing import plain, run_python

NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(directory: Path) -> dict[str, bytes]:
    """The files of a directory with their content."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.asyncio
async def test_what_is_missing_is_made_for_this_user_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        path = tmp_path / "deep" / "down" / "a.db"
        async with SQLiteStorage(path) as storage:
            await storage.store_interaction("a", {"n": 1})
            assert [mode(directory) for directory in (path.parent, path.parent.parent)] == [0o700, 0o700]
            assert {one.name: mode(one) for one in path.parent.iterdir()} == {
                "a.db": 0o600,
                "a.db-wal": 0o600,
                "a.db-shm": 0o600,
                "a.db-turn": 0o600,
            }
        assert set(everything(path.parent)) == {"a.db", "a.db-turn"}
    finally:
        os.umask(previous)


@pytest.mark.asyncio
async def test_permissions_of_what_is_there_are_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    directory.mkdir(mode=0o750)
    path = directory / "a.db"
    path.touch(mode=0o640)
    async with SQLiteStorage(path) as storage:
        await storage.store_interaction("a", {"n": 1})
    assert (mode(directory), mode(path)) == (0o750, 0o640)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name", ["a b.db", "50%.db", "what?.db", "#1.db", "é\U0001f600.db", "it's.db", "a&b=c.db"]
)
async def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    async with SQLiteStorage(tmp_path / name) as storage:
        await storage.store_interaction("a", {"n": 1})
        assert await storage.get_interactions("a") == [{"n": 1}]
    assert set(everything(tmp_path)) == {name, f"{name}-turn"}


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [b"hello\n", b"SQLite format 2" + b"\0" * 5000, b"\0" * 4096, b"x"])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    storage = SQLiteStorage(path)
    with pytest.raises(
        StorageConfigError, match=r"notes\.txt is not an SQLite database; nothing was written"
    ):
        await storage.open()
    await storage.close()
    assert everything(tmp_path) == {"notes.txt": content}


@pytest.mark.asyncio
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
@pytest.mark.parametrize("made_by", ["CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id = 77"])
async def test_a_database_of_another_application_is_refused(
    tmp_path: Path, made_by: str, journal_mode: str
) -> None:
    path = tmp_path / "theirs.db"
    with plain(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute(made_by)
    before = everything(tmp_path)
    storage = SQLiteStorage(path)
    with pytest.raises(StorageConfigError, match=r"theirs\.db is an SQLite database of another application"):
        await storage.open()
    await storage.close()
    assert everything(tmp_path) == before


@pytest.mark.asyncio
async def test_a_database_that_others_have_open_is_recognised_too(tmp_path: Path) -> None:
    """Its tables are in its write-ahead log only; the file itself looks empty."""
    path = tmp_path / "theirs.db"
    with plain(path) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        storage = SQLiteStorage(path)
        with pytest.raises(StorageConfigError, match="of another application"):
            await storage.open()
        await storage.close()
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        assert (tables, connection.execute("PRAGMA user_version").fetchone()) == ([("bookmarks",)], (0,))


@pytest.mark.asyncio
async def test_an_empty_database_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    with plain(path) as connection:
        connection.execute("VACUUM")
    assert path.stat().st_size
    async with SQLiteStorage(path) as storage:
        await storage.store_interaction("a", {"n": 1})
        (warning,) = (await storage.health()).warnings
        assert "does not shrink" in warning


@pytest.mark.asyncio
async def test_a_crash_while_the_file_was_made_leaves_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    run_python(MAKE_AND_DIE, path)
    left = everything(tmp_path)
    assert len(left["a.db"]) > 4096
    assert "a.db-journal" in left
    path.write_bytes(b"\0" * len(left["a.db"]))  # as a power cut may leave what was not synced
    async with SQLiteStorage(path) as storage:
        await storage.store_interaction("a", {"n": 1})
        assert (await storage.health()).schema_version == 1


MAKE_AND_DIE = """
import os, sqlite3, sys
if os.fork() == 0:
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE oacp_agents (x)")
    for n in range(200):
        connection.execute("INSERT INTO oacp_agents VALUES (randomblob(3000))")
    os._exit(0)
os.wait()
"""


@pytest.mark.asyncio
async def test_a_crash_in_the_middle_of_a_checkpoint_leaves_no_obstacle(tmp_path: Path) -> None:
    """The first page is in the file already, and speaks of pages that are in the log still."""
    path, crashed = tmp_path / "a.db", tmp_path / "crashed.db"
    async with SQLiteStorage(path) as storage:
        await storage.store_interactions("a", [{"n": n, "text": "x" * 1000} for n in range(500)])
        database, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    size = int.from_bytes(log[8:12], "big")
    frames = [log[i : i + 24 + size] for i in range(32, len(log), 24 + size)]
    first = [frame[24:] for frame in frames if int.from_bytes(frame[:4], "big") == 1][-1]
    assert int.from_bytes(first[28:32], "big") * size > len(database)
    crashed.write_bytes(first + database[size:])
    Path(f"{crashed}-wal").write_bytes(log)
    async with SQLiteStorage(crashed) as storage:
        assert await storage.count_interactions("a") == 500
        assert [damage async for damage in storage.verify()] == []


@pytest.mark.asyncio
async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path)
    with pytest.raises(StorageConfigError, match="directory"):
        await storage.open()
    await storage.close()


@pytest.mark.asyncio
async def test_a_file_cannot_be_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage = SQLiteStorage(tmp_path / "file" / "a.db")
    with pytest.raises(StorageConfigError, match=r"a\.db.*name a file in a directory"):
        await storage.open()
    await storage.close()


def passable(directory: Path) -> Path:
    """The directory, which other users may read and come to."""
    for above in (directory, *directory.parents):
        if above.stat().st_mode & 0o055 != 0o055:
            above.chmod(above.stat().st_mode | 0o055)
    return directory


OPEN_AS = """
import asyncio, os, sys
from oacp_storage_sqlite import SQLiteStorage, engine  # before it can no longer be read
user = int(sys.argv[2])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
async def main():
    storage = SQLiteStorage(sys.argv[1])
    try:
        await storage.store_interaction("a", {"n": 1})
    except Exception as exc:
        print(type(exc).__name__, exc)
    await storage.close()
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to become somebody who may not write")
@pytest.mark.parametrize("which", ["file", "directory"])
def test_what_this_user_may_not_write_is_refused(
    tmp_path_factory: pytest.TempPathFactory, which: str
) -> None:
    directory = passable(tmp_path_factory.mktemp("readonly"))
    path = directory / "a.db"
    run_python(OPEN_AS, path, 0)
    before = everything(directory)
    path.chmod(0o644 if which == "file" else 0o666)
    (directory / "a.db-turn").chmod(0o666)
    directory.chmod(0o777 if which == "file" else 0o755)
    told = run_python(OPEN_AS, path, NOBODY)
    assert told.startswith("StorageConfigError ")
    assert f"{path if which == 'file' else directory} is read-only for this user" in told
    assert everything(directory) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to become somebody who may not write")
def test_a_directory_that_cannot_be_made_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = passable(tmp_path_factory.mktemp("readonly"))
    told = run_python(OPEN_AS, directory / "private" / "a.db", NOBODY)
    assert told.startswith("StorageConfigError ")
    assert "a.db: Permission denied; name a file in a directory that this user may write to" in told


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_was_taken_away_gets_no_more_writes(tmp_path: Path, how: str) -> None:
    """They would be acknowledged, and lost with the last connection."""
    path = tmp_path / "a.db"
    storage = SQLiteStorage(path)
    await storage.store_interaction("a", {"n": 1})
    path.rename(tmp_path / "away.db")
    if how == "replaced":
        async with SQLiteStorage(tmp_path / "new" / "b.db") as other:
            await other.store_interaction("a", {"n": 1})
        (tmp_path / "new" / "b.db").rename(path)
    with pytest.raises(StorageConnectionError, match=r"cannot be found any more|has taken the place"):
        await storage.store_interaction("a", {"n": 2})
    await storage.close()


@pytest.mark.asyncio
async def test_an_sqlite_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 9))
    storage = SQLiteStorage(tmp_path / "a.db")
    with pytest.raises(StorageConfigError, match=r"is too old, 3\.35\.0 is needed"):
        await storage.open()
    await storage.close()
    assert everything(tmp_path) == {}


opened_by_python: list[str] = []


def note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        opened_by_python.append(str(arguments[0]))


@pytest.mark.asyncio
async def test_a_database_in_use_is_never_opened_on_the_side(tmp_path: Path) -> None:
    """Closing it would give up the locks of every other connection in this process."""
    path = tmp_path / "a.db"
    async with SQLiteStorage(path) as storage:
        await storage.store_interaction("a", {"n": 1})
        sys.addaudithook(note_opening)  # it cannot be taken off again, and costs nothing
        for n in (2, 3):
            async with SQLiteStorage(path) as guest:
                await guest.store_interaction("a", {"n": n})
        assert str(path) not in opened_by_python
        assert f"{path}-turn" in opened_by_python, "the hook notices what is opened"
        await storage.store_interaction("a", {"n": 4})
        assert await storage.get_interactions("a") == [{"n": n} for n in (1, 2, 3, 4)]


# --- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"database_path": ":memory:"}, "MemoryStorage"),
        ({"database_path": ""}, "MemoryStorage"),
        ({"database_path": "file:a.db?mode=memory"}, "MemoryStorage"),
        ({"database_path": b"a.db"}, "'database_path' must be str or a path, not bytes"),
        ({"database_path": "a\0.db"}, "NUL"),
        ({"enable_wal_mode": "no"}, "'enable_wal_mode' must be bool, not str 'no'"),
        ({"pool_size": 0}, "pool_size must be at least 1, not 0"),
        ({"cache_size": 0}, "cache_size must not be 0"),
        ({"durability": "none"}, "'durability' must be 'full' or 'normal', not str 'none'"),
        ({"namespace": "Bad"}, "namespace"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(StorageConfigError, match=message):
        SQLiteStorage(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///:memory:", "MemoryStorage"),
        ("sqlite://", "names a host"),
        ("sqlite:///", "MemoryStorage"),
        ("sqlite://server/a.db", "three slashes"),
        ("sqlite:///a.db?colour=red", "colour"),
        ("sqlite:///a%ff.db", "UTF-8"),
        ("sqlite:///a.db?pool_size=many", "pool_size"),
        ("sqlite:///a.db?durability=lazy", "durability"),
        ("sqlite:///a.db?database_path=b.db", "database_path"),
    ],
)
def test_wrong_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(StorageConfigError, match=message):
        create_storage(url)


def test_a_password_in_a_url_hides_itself_and_not_the_reason() -> None:
    with pytest.raises(StorageConfigError) as caught:
        create_storage("sqlite:///x.db?password=s3cret")
    assert str(caught.value).startswith(
        "the URL sqlite:///x.db?password=*** has options that SQLiteStorage does not know: 'password'; its options"
    )


@pytest.mark.asyncio
async def test_a_url_names_a_relative_or_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = create_storage("sqlite:///data/a%20b.db?pool_size=2&enable_wal_mode=false&durability=normal")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # the path is of the time when the storage was made
    async with relative, create_storage(f"sqlite:///{tmp_path}/b.db") as absolute:
        await relative.store_interaction("a", {"n": 1})
        await absolute.store_interaction("a", {"n": 1})
    assert (tmp_path / "data" / "a b.db").exists()
    assert (tmp_path / "b.db").exists()
    assert not list(elsewhere.iterdir())


def test_the_default_is_a_file_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SQLiteStorage()
    assert not list(tmp_path.iterdir()), "building a storage touches nothing"


# --- the disk ------------------------------------------------------------------------------------------------


FILL_THE_DISK = """
import asyncio, logging, resource, signal, sys
from contextlib import suppress
from oacp_storage_core import StorageError
from oacp_storage_sqlite import SQLiteStorage

logging.disable()  # of a warning about the file system

async def main():
    path, limit = sys.argv[1], int(sys.argv[2])
    storage = SQLiteStorage(path, timeout=5)
    for n in range(20):
        await storage.store_interaction("a", {"n": n})
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    else:
        filler = open(path + ".filler", "wb", buffering=0)
        with suppress(OSError):
            while filler.write(bytes(4096)):
                pass
    stored = 20
    try:
        while stored < 5000:
            await storage.store_interaction("a", {"n": stored, "text": "x" * 2000})
            stored += 1
    except StorageError as exc:
        print(type(exc).__name__, stored, exc)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        filler.truncate(0)
        filler.close()
    await storage.store_interaction("a", {"n": stored})
    print([row["n"] for row in await storage.get_interactions("a", 9999)] == list(range(stored + 1)))
    await storage.close()

asyncio.run(main())
"""


def test_a_failing_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    told = run_python(FILL_THE_DISK, tmp_path / "a.db", 300_000)
    error, goes_on = told.splitlines()
    assert error.startswith("StorageConnectionError 20 ")
    assert "a.db: disk I/O error (SQLITE_IOERR_WRITE): reading or writing the disk failed" in error
    assert goes_on == "True"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_file_system_is_named(small_disk: Path) -> None:
    error, goes_on = run_python(FILL_THE_DISK, small_disk / "a.db", 0).splitlines()
    assert error.startswith("StorageError 20 ")
    assert "a.db: database or disk is full (SQLITE_FULL): the disk is full, and nothing was written" in error
    assert goes_on == "True"


@pytest.mark.asyncio
async def test_a_file_system_in_memory_is_told(small_disk: Path) -> None:
    async with SQLiteStorage(small_disk / "a.db") as storage:
        health = await storage.health()
        assert health.durability == "crash"
        assert any("in memory (tmpfs)" in warning for warning in health.warnings)


def test_errors_are_of_the_contract() -> None:
    """A settings object needs no file to say that its file is gone."""
    gone = Settings(path="/nowhere/a.db", wal=True, full=True, auto_vacuum=True, cache_size=1)
    with pytest.raises(StorageError, match="cannot be found any more"):
        gone.identity()
