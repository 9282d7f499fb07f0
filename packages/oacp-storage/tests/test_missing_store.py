"""Commands that only read say when there is no store at a place, make nothing there, and exit with 2."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from oacp_command import run

READING = ("agents", "export", "show", "verify", "health", "compare", "copy")


def arguments(command: str, store: str, other: str) -> list[str]:
    """The command line that reads ``store``; ``other`` is a second one, where the command takes two."""
    return {
        "show": ["show", "alice", store],
        "compare": ["compare", store, other],
        "copy": ["copy", store, other],
    }.get(command, [command, store])


@pytest.mark.parametrize("kind", ["sqlite", "file"])
@pytest.mark.parametrize("command", READING)
def test_a_mistyped_url(command: str, kind: str, tmp_path: Path) -> None:
    place = tmp_path / "typo" / "store"
    url = f"sqlite:///{place}" if kind == "sqlite" else f"file://{place}"
    ran = run(*arguments(command, url, f"sqlite:///{tmp_path}/other.db"))
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(
        f"oacp-storage: there is no store at {place}, and none was made: check the name"
    )
    assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", READING)
def test_a_configured_path(command: str, tmp_path: Path) -> None:
    tmp_path.joinpath("oacp.toml").write_text(
        '[storage.main]\nbackend = "sqlite"\ndatabase_path = "typo.db"\n'
        '[storage.other]\nbackend = "file"\ndirectory = "other"\n'
    )
    ran = run(*arguments(command, "main", "other"), cwd=tmp_path)
    assert (ran.status, ran.out) == (2, "")
    assert f"there is no store at {tmp_path / 'typo.db'}" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["oacp.toml"]


def test_the_second_of_a_comparison(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    assert run("import", "-", "--to", store).status == 0
    before = sorted(tmp_path.iterdir())
    ran = run("compare", store, f"file://{tmp_path}/typo")
    assert (ran.status, ran.out) == (2, "")
    assert f"there is no store at {tmp_path / 'typo'}" in ran.err
    assert [path for path in sorted(tmp_path.iterdir()) if path not in before] == []


def test_an_empty_place_holds_no_store(tmp_path: Path) -> None:
    tmp_path.joinpath("empty.db").touch()
    tmp_path.joinpath("empty").mkdir()
    for url in (f"sqlite:///{tmp_path}/empty.db", f"file://{tmp_path}/empty"):
        ran = run("verify", url)
        assert (ran.status, ran.out) == (2, "")
        assert "there is no store at" in ran.err
    assert tmp_path.joinpath("empty.db").stat().st_size == 0
    assert list(tmp_path.joinpath("empty").iterdir()) == []


def test_a_directory_that_is_not_ours_is_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "somebodys"
    place.mkdir()
    place.joinpath("letter.txt").write_text("mine")
    ran = run("agents", f"file://{place}")
    assert (ran.status, ran.out) == (2, "")
    assert f"{place} is not empty and no store of oacp-storage-file (it holds letter.txt)" in ran.err
    assert ran.err.count("\n") == 1
    assert [path.name for path in place.iterdir()] == ["letter.txt"]


def test_a_store_of_a_newer_release_is_not_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    assert run("import", "-", "--to", url).status == 0
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    ran = run("agents", url)
    assert (ran.status, ran.out) == (3, "")
    assert "schema version 99" in ran.err
    assert ran.err.count("\n") == 1


def test_writing_commands_make_the_store(durable: str, tmp_path: Path) -> None:
    line = b'{"agent_id": "alice", "interaction": {"n": 1}}\n'
    assert run("import", "-", "--to", durable, stdin=line).status == 0
    assert run("copy", durable, f"sqlite:///{tmp_path}/copied.db").status == 0
    assert run("agents", f"sqlite:///{tmp_path}/copied.db").status == 0
