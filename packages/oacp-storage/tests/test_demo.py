"""The demo, for real: processes, kills, and what is in the stores at the end."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oacp_command import Ran, call, run
from oacp_storage.demo.library import QUESTIONS
from oacp_storage.demo.story import THINK
from oacp_storage_core import Interaction, open_storage

TURNS = 51
"""How many turns the team takes for its questions."""


def logs(url: str) -> dict[str, list[Interaction]]:
    async def read() -> dict[str, list[Interaction]]:
        async with open_storage(url) as storage:
            return {
                agent: [one async for one in storage.iter_interactions(agent)]
                for agent in await storage.list_agents()
            }

    return asyncio.run(read())


def plain(found: dict[str, list[Interaction]]) -> dict[str, list[Any]]:
    return {agent: [(one.sequence, one.id, one.data) for one in log] for agent, log in found.items()}


def told(ran: Ran, directory: Path) -> None:
    """The demo went well, and said nothing that is not so."""
    assert ran.status == 0, ran.out + ran.err
    assert ran.err == ""
    assert "FAILED" not in ran.out
    assert ran.out.count("\n  ok  ") == 8
    for question in QUESTIONS:
        assert question in ran.out
    team = logs(f"sqlite:///{directory}/team.db")
    assert sorted(team) == ["checker", "editor", "planner", "researcher", "writer"]
    for log in team.values():
        assert [one.sequence for one in log] == list(range(1, len(log) + 1))
    turns = [(one.data["task"], one.data["turn"]) for log in team.values() for one in log]
    assert len(turns) == len(set(turns)) == TURNS
    assert logs(f"file://{directory}/copy") == team


@pytest.mark.parametrize("kill_after", [1, 20, TURNS - 2])
def test_the_demo_with_different_kills(kill_after: int, tmp_path: Path) -> None:
    directory = tmp_path / "a place"  # URLs must cope with it
    ran = run("demo", "--directory", directory, "--kill-after", str(kill_after))
    told(ran, directory)


def test_the_demo_as_it_is_takes_less_than_20_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    """Less on a machine that does nothing else: counted are its processor time and its pauses, not what others do."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = run("demo", env={"TMPDIR": str(tmp_path)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert busy + TURNS * THINK < 10
    assert ran.status == 0, ran.out + ran.err
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"ok {4}(\d+) turns were acknowledged, \1 of them are in the file", ran.out)
    # Told for people: the acts in order, the first question in full, nothing wider than it must be.
    acts = [line for line in ran.out.splitlines() if line[:2] in {"1.", "2.", "3.", "4."}]
    assert [act[0] for act in acts] == ["1", "2", "3", "4"]
    assert "editor      no: 39 words are too many, and it names no source" in ran.out


def test_the_demo_after_every_kill_is_what_it_is_without_one(tmp_path: Path) -> None:
    """The logs of two runs with different kills are the same, but for the times."""
    made = []
    for kill_after in (7, 33):
        directory = tmp_path / str(kill_after)
        assert run("demo", "--directory", directory, "--kill-after", str(kill_after)).status == 0
        made.append(plain(logs(f"sqlite:///{directory}/team.db")))
    assert made[0] == made[1]


def test_the_process_that_will_be_killed_never_finishes_before(tmp_path: Path) -> None:
    """However late the kill comes: it waits after the given turn, and ends when nobody is left to kill it."""
    url = f"sqlite:///{tmp_path}/team.db"
    with subprocess.Popen(
        [sys.executable, "-m", "oacp_storage.demo.worker", url, "--hold-after", "3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        out, _ = worker.communicate(b"", timeout=60)
    assert len(out.splitlines()) == 3
    assert worker.returncode == 0
    assert sum(map(len, logs(url).values())) == 3


@pytest.mark.parametrize("kill_after", [0, -3, TURNS - 1, 1000])
def test_a_kill_that_cannot_be(kill_after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = call(capsys, "demo", "--directory", tmp_path, f"--kill-after={kill_after}")
    assert ran.status == 2
    assert ran.err == f"oacp-storage: --kill-after must be 1 to {TURNS - 2}: the team takes {TURNS} turns\n"


def test_a_directory_that_is_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("something").touch()
    for directory in (tmp_path, tmp_path / "something"):
        ran = call(capsys, "demo", "--directory", directory)
        assert ran.status == 2
        assert "is not an empty directory" in ran.err


def test_a_claim_that_does_not_hold_fails_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a team that says something else after the kill, as if its memory had been lost."""
    monkeypatch.setattr("oacp_storage.demo.story.QUESTIONS", [*QUESTIONS[:-1], "Why are comets made of ice?"])
    ran = call(capsys, "demo", "--directory", tmp_path)
    assert ran.status == 1
    assert "FAILED  the team said, word for word" in ran.out


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_the_demo_on_a_terminal(tmp_path: Path) -> None:
    mine, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "oacp_storage", "demo"],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(mine, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        assert process.wait(30) == 0
    os.close(mine)
    assert b"\x1b[" in shown
    assert "The team moves to another storage" in shown.decode()
