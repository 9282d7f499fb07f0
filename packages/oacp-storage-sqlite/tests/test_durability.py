"""Durability: what the connection that writes is set to, what health() says of it, and what a failing sync means."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from oacp_storage_core import Health, OutcomeUnknownError, StorageConnectionError, StorageError
from oacp_storage_sqlite import SQLiteStorage, inspection
from oacp_storage_sqlite.database import Settings, journal_mode
from oacp_storage_sqlite.schema import pragma
from sqlite_testing import plain

NORMAL, FULL, EXTRA = 1, 2, 3
Level = Literal["full", "normal"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wal", "level", "mode", "synchronous", "told"),
    [
        (True, "full", "wal", FULL, "power-cut"),
        (True, "normal", "wal", NORMAL, "crash"),
        (False, "full", "delete", EXTRA, "power-cut"),
        (False, "normal", "delete", FULL, "crash"),
    ],
)
async def test_a_commit_is_synced_as_promised(
    tmp_path: Path, wal: bool, level: Level, mode: str, synchronous: int, told: str
) -> None:
    path = tmp_path / "a.db"
    async with SQLiteStorage(path, enable_wal_mode=wal, durability=level) as storage:
        health = await storage.health()
        assert (health.ok, health.durability) == (True, told)
        assert bool(health.warnings) == (level == "normal")
        settings = Settings(path=str(path), wal=wal, full=level == "full", auto_vacuum=True, cache_size=10)
        connection = settings.connect_writer()
        assert (journal_mode(connection), pragma(connection, "synchronous")) == (mode, synchronous)
        assert pragma(connection, "cache_size") == 10
        connection.close()


@pytest.mark.parametrize(
    ("mode", "synchronous", "told"),
    [
        ("wal", 0, "none"),
        ("wal", 3, "power-cut"),
        ("delete", 1, "crash"),
        ("memory", 3, "none"),
        ("off", 3, "none"),
    ],
)
def test_durability_is_what_the_settings_say(mode: str, synchronous: int, told: str) -> None:
    assert inspection.durability_of(mode, synchronous) == told


async def health_of(path: Path, **options: Any) -> Health:
    async with SQLiteStorage(path, **options) as storage:
        return await storage.health()


@pytest.mark.asyncio
async def test_the_journal_mode_may_be_changed_when_nobody_else_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for wal, mode in ((True, "wal"), (False, "delete"), (True, "wal")):
        assert (await health_of(path, enable_wal_mode=wal)).warnings == ()
        with plain(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


@pytest.mark.asyncio
async def test_another_journal_mode_than_asked_for_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SQLiteStorage(path) as first:
        await first.store_interaction("a", {"n": 1})
        (warning,) = (await health_of(path, enable_wal_mode=False)).warnings
        assert "The journal mode is WAL although enable_wal_mode is False" in warning
    await health_of(path, enable_wal_mode=False)
    with plain(path) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM agents").fetchall()
        (warning,) = (await health_of(path)).warnings
        assert "The journal mode is delete, not WAL" in warning


@pytest.mark.asyncio
async def test_a_file_system_of_the_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    lines = [
        f"31 1 {device >> 8}:{device & 255} / / rw shared:1 - nfs4 server:/ rw",
        "32 1 0:99 / /x rw - ext4 x rw",
    ]
    mounts.write_text("\n".join(lines))
    monkeypatch.setattr(inspection, "_MOUNTS", mounts)
    (warning,) = (await health_of(tmp_path / "a.db")).warnings
    assert "network file system (nfs4)" in warning
    monkeypatch.setattr(inspection, "_MOUNTS", tmp_path / "none")
    assert (await health_of(tmp_path / "a.db")).warnings == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("auto_vacuum", [True, False])
async def test_the_file_shrinks_after_deletions(tmp_path: Path, auto_vacuum: bool) -> None:
    path = tmp_path / "a.db"
    async with SQLiteStorage(path, auto_vacuum=auto_vacuum) as storage:
        for agent in ("ann", "bob", "cid"):
            await storage.store_interactions(agent, [{"n": n, "text": "x" * 1000} for n in range(500)])
        with plain(path) as connection:
            pages = [connection.execute("PRAGMA page_count").fetchone()[0]]
            await storage.delete_interactions("ann", keep_last=10)
            pages.append(connection.execute("PRAGMA page_count").fetchone()[0])
            await storage.delete_agent("bob")
            pages.append(connection.execute("PRAGMA page_count").fetchone()[0])
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    first, after_retention, after_deletion = pages
    if auto_vacuum:
        assert after_retention < first * 0.75
        assert after_deletion < first * 0.45
    else:
        assert first == after_retention == after_deletion
    (warning,) = (
        (await health_of(path, auto_vacuum=True)).warnings if not auto_vacuum else ("does not shrink",)
    )
    assert "does not shrink" in warning


# --- a disk that fails at the worst moment ---------------------------------------------------------------------


class FailingConnection(sqlite3.Connection):
    """Fails once, at a statement of the test's choice, with a code of its choice, as SQLite would."""

    failures: ClassVar[dict[str, int]] = {}

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        for beginning, code in list(self.failures.items()):
            if sql.startswith(beginning):
                del self.failures[beginning]
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = code
                error.sqlite_errorname = f"SQLITE_CODE_{code}"
                raise error
        return super().execute(sql, parameters)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What will fail: the beginning of a statement, and SQLite's code for it."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    planned: dict[str, int] = {}
    monkeypatch.setattr(FailingConnection, "failures", planned)
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=FailingConnection, **kwargs)
    )
    return planned


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("statement", "code", "error", "message"),
    [
        ("COMMIT", sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknownError, "may or may not be there"),
        ("COMMIT", sqlite3.SQLITE_IOERR_DIR_FSYNC, OutcomeUnknownError, "may or may not be there"),
        ("COMMIT", sqlite3.SQLITE_IOERR_WRITE, StorageConnectionError, "reading or writing the disk failed"),
        ("COMMIT", sqlite3.SQLITE_FULL, StorageError, "the disk is full, and nothing was written"),
        ("BEGIN IMMEDIATE", sqlite3.SQLITE_IOERR_LOCK, StorageConnectionError, "the disk failed"),
        ("PRAGMA data_version", sqlite3.SQLITE_NOMEM, StorageError, "no memory left; nothing was written"),
        ("INSERT", sqlite3.SQLITE_CANTOPEN, StorageConnectionError, "limit of open files"),
    ],
)
async def test_every_failure_is_of_the_contract_and_the_storage_goes_on(
    tmp_path: Path,
    failures: dict[str, int],
    statement: str,
    code: int,
    error: type[StorageError],
    message: str,
) -> None:
    async with SQLiteStorage(tmp_path / "a.db", timeout=5) as storage:
        await storage.store_interaction("a", {"n": 1})
        failures[statement] = code
        async with asyncio.timeout(3):
            with pytest.raises(error, match=message) as caught:
                await storage.store_interaction("b", {"n": 2})
        assert type(caught.value) is error
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert "a.db" in str(caught.value)
        await storage.store_interaction("a", {"n": 3})
        await storage.store_interaction("b", {"n": 4})
        assert await storage.get_interactions("a") == [{"n": 1}, {"n": 3}]
        assert await storage.get_interactions("b") == [{"n": 4}]


@pytest.mark.asyncio
async def test_a_lock_at_commit_is_waited_for(tmp_path: Path, failures: dict[str, int]) -> None:
    async with SQLiteStorage(tmp_path / "a.db", timeout=5) as storage:
        failures["COMMIT"] = sqlite3.SQLITE_BUSY
        await storage.store_interaction("a", {"n": 1})
        failures["BEGIN IMMEDIATE"] = sqlite3.SQLITE_BUSY_SNAPSHOT
        await storage.store_interaction("a", {"n": 2})
        assert await storage.get_interactions("a") == [{"n": 1}, {"n": 2}]
