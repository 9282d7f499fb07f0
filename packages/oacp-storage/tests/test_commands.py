"""Every command end to end: what it prints, what it returns, and what is in the storage afterwards."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from oacp_command import call, environment, run
from oacp_storage.importing import SHOWN
from oacp_storage_core import CorruptDataError, Damage, Interaction, MemoryStorage, Storage, open_storage

Capture = pytest.CaptureFixture[str]

LINES = [
    {"agent_id": agent, "interaction": {"n": number, "text": "héllo \u2028 \U0001f600"}}
    for number in range(5)
    for agent in ("alice", "bob")
]
TEXT = "".join(json.dumps(line) + "\n" for line in LINES).encode()


def in_storage(url: str, work: Callable[[Storage], Awaitable[Any]]) -> Any:
    """Do something with a storage, from a test that is not asynchronous itself."""

    async def opened() -> Any:
        async with open_storage(url) as storage:
            return await work(storage)

    return asyncio.run(opened())


def numbers(url: str, agent: str) -> list[int]:
    return [one["n"] for one in in_storage(url, lambda storage: storage.get_interactions(agent))]


def fill(url: str) -> None:
    async def work(storage: Storage) -> None:
        await storage.record_turn(
            "alice",
            interactions=[{"n": number} for number in range(30)],
            state={"mood": "good"},
            learning={"style": {"max_words": 40}},
        )
        await storage.store_interaction("bob\x1b[31m", {"text": "bell \x07"})
        await storage.store_system_state("setting", {"x": 1})

    in_storage(url, work)


# --- import -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("by", ["file", "stdin"])
def test_import(pack: Callable[[bytes], bytes], by: str, durable: str, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(pack(TEXT))
    arguments, stdin = ([str(path)], b"") if by == "file" else (["-"], path.read_bytes())
    first = run("import", *arguments, "--to", durable, stdin=stdin)
    assert (first.status, first.err) == (0, "")
    assert "10 added, 0 already there, 0 malformed" in first.out
    again = run("import", *arguments, durable, stdin=stdin)  # as the second argument, too
    assert again.status == 0
    assert "0 added, 10 already there, 0 malformed" in again.out
    assert numbers(durable, "alice") == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_import_from_a_named_pipe(durable: str, tmp_path: Path) -> None:
    """As a shell makes one of <(zcat ...)."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(TEXT * 2000),))
    writer.start()
    ran = run("import", pipe, "--to", durable)
    writer.join()
    assert (ran.status, ran.err) == (0, "")
    assert "20,000 added" in ran.out


def test_import_names_malformed_lines_and_keeps_the_good_ones(
    store: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(TEXT + b"garbage\n" * (SHOWN + 5) + b'{"agent_id": "alice", "interaction": {"n": 99}}\n')
    ran = call(capsys, "import", path, "--to", store)
    assert ran.status == 1
    lines = ran.err.splitlines()
    assert lines[0] == "line 11: not JSON: Expecting value at character 0"
    assert len(lines) == SHOWN + 1
    assert lines[-1] == "... and 5 more malformed lines"
    assert f"{SHOWN + 5} malformed" in ran.out
    assert numbers(store, "alice") == [0, 1, 2, 3, 4, 99]


def test_import_strict_stops_at_the_first(store: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "lines"
    path.write_bytes(TEXT + b'{"agent_id": "alice"}\n' + TEXT)
    ran = call(capsys, "import", path, "--to", store, "--strict")
    assert ran.status == 1
    assert ran.err == "line 11: interaction is missing\nstopped there; the lines before it are stored\n"
    assert "11 lines" in ran.out
    assert numbers(store, "alice") == [0, 1, 2, 3, 4]


def test_import_of_a_cut_file_keeps_what_came_before(store: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "lines.gz"
    many = b"".join(b'{"agent_id": "a", "interaction": {"n": %d}}\n' % number for number in range(20_000))
    whole = gzip.compress(many)
    path.write_bytes(whole[: len(whole) // 2])
    ran = call(capsys, "import", path, "--to", store)
    assert ran.status == 3
    assert "cut off or damaged after line" in ran.err
    assert len(ran.err.splitlines()) == 1
    stored = in_storage(store, lambda storage: storage.count_interactions("a"))
    assert 0 < stored < 20_000
    path.write_bytes(whole)
    assert f"{stored:,} already there" in call(capsys, "import", path, "--to", store).out


def test_import_refuses_a_line_in_which_a_key_stands_twice(
    store: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(TEXT + b'{"agent_id": "alice", "interaction": {"n": 1, "n": 2}}\n' + TEXT)
    reason = "line 11: the key 'n' stands twice in one object; which of the two is meant?"
    ran = call(capsys, "import", path, "--to", store)
    assert (ran.status, ran.err) == (1, f"{reason}\n")
    assert "20 added, 0 already there, 1 malformed" in ran.out
    assert call(capsys, "import", path, "--to", store, "--strict").err.startswith(f"{reason}\nstopped there")


def test_one_of_a_thing_is_no_plural(stores: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"agent_id": "alice", "interaction": {"n": 1}}\n')
    assert call(capsys, "import", path, "--to", stores[0]).out.startswith("1 line in ")
    assert call(capsys, "show", "alice", stores[0]).out.startswith("alice: 1 interaction\n")
    assert call(capsys, "export", stores[0], tmp_path / "out").err.startswith(
        "1 interaction of 1 agent written"
    )
    copied = call(capsys, "copy", *stores).out
    assert copied == "1 interaction and 0 documents of 1 agent are in the target, all compared\n"
    compared = call(capsys, "compare", *stores).out
    assert compared == "1 interaction and 0 documents of 1 agent compared: all equal\n"


@pytest.mark.parametrize(("name", "reason"), [("missing.jsonl", "No such file"), (".", "Is a directory")])
def test_import_without_a_file(name: str, reason: str, store: str, tmp_path: Path, capsys: Capture) -> None:
    ran = call(capsys, "import", tmp_path / name, "--to", store)
    assert (ran.status, ran.out) == (2, "")
    assert reason in ran.err
    assert str(tmp_path) in ran.err


def test_lines_without_a_time_have_that_of_the_file(store: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "lines"
    path.write_bytes(TEXT)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert call(capsys, "import", path, "--to", store).status == 0

    async def times(storage: Storage) -> set[datetime]:
        return {one.timestamp async for one in storage.iter_interactions("alice")}

    assert in_storage(store, times) == {datetime.fromtimestamp(1_700_000_000, UTC)}


# --- export -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_export_can_be_imported(
    suffix: str, stores: tuple[str, str], tmp_path: Path, capsys: Capture
) -> None:
    one, other = stores
    fill(one)
    path = tmp_path / f"out.jsonl{suffix}"
    ran = call(capsys, "export", one, path)
    assert (ran.status, ran.out) == (0, "")
    assert ran.err == f"31 interactions of 2 agents written to {path}\n"
    assert call(capsys, "import", path, "--to", other).status == 0
    again = tmp_path / f"again.jsonl{suffix}"
    assert call(capsys, "export", "--storage", other, "--to", again).status == 0
    assert again.read_bytes() == path.read_bytes()


def test_export_to_stdout(durable: str) -> None:
    fill(durable)
    ran = run("export", durable)
    assert ran.status == 0
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["agent_id"] for line in lines] == ["alice"] * 30 + ["bob\x1b[31m"]
    assert run("export", durable, "-").out == ran.out


def test_export_some_agents(store: str, tmp_path: Path, capsys: Capture) -> None:
    fill(store)
    path = tmp_path / "out"
    assert call(capsys, "export", store, path, "--agent", "alice").status == 0
    assert len(path.read_text().splitlines()) == 30
    ran = call(capsys, "export", store, tmp_path / "none", "--agent", "alice", "--agent", "carol")
    assert ran.status == 2
    assert ran.err == "oacp-storage: the storage has no agent 'carol'; nothing was written\n"
    assert not (tmp_path / "none").exists()


def test_export_reports_what_is_damaged_and_leaves_it_out(
    store: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    whole = MemoryStorage.iter_interactions

    class Damaged:
        """A history of which every interaction from the sixth on is damaged."""

        def __init__(self, history: AsyncIterator[Interaction]) -> None:
            self._history = history

        async def __anext__(self) -> Interaction:
            one = await anext(self._history)
            if one.sequence > 5:
                raise CorruptDataError(f"sequence {one.sequence} is\x07 damaged")
            return one

    def damaged(storage: MemoryStorage, agent_id: str, **keywords: Any) -> Damaged:
        return Damaged(whole(storage, agent_id, **keywords))

    monkeypatch.setattr(MemoryStorage, "iter_interactions", damaged)
    path = tmp_path / "out"
    ran = call(capsys, "export", store, path, "--agent", "alice")
    assert ran.status == 1
    assert len(path.read_text().splitlines()) == 5
    lines = ran.err.splitlines()
    assert lines[0] == r"damaged, left out: sequence 6 is\x07 damaged"
    assert lines[SHOWN] == "... and 5 more damaged records"


def test_export_to_where_nothing_can_be_written(store: str, tmp_path: Path, capsys: Capture) -> None:
    for place in (tmp_path, tmp_path / "nowhere" / "out.jsonl"):
        ran = call(capsys, "export", store, place)
        assert ran.status == 2
        assert "cannot be written" in ran.err


def test_export_without_the_right_to_write_names_the_file(
    store: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied", f"{tmp_path}/.temporary")

    monkeypatch.setattr("oacp_storage.exporting.mkstemp", refuse)
    ran = call(capsys, "export", store, tmp_path / "out.jsonl")
    assert (ran.status, ran.err) == (3, f"oacp-storage: {tmp_path}/out.jsonl: Permission denied\n")


# --- copy, compare ------------------------------------------------------------------------------------------


def test_copy_and_compare(durable: str, tmp_path: Path) -> None:
    fill(durable)
    other = f"file://{tmp_path}/other" if durable.startswith("sqlite") else f"sqlite:///{tmp_path}/other.db"
    copied = run("copy", durable, other)
    assert copied.status == 0
    assert copied.out == "31 interactions and 3 documents of 2 agents are in the target, all compared\n"
    assert run("copy", "--from", durable, "--to", other).out == copied.out
    compared = run("compare", durable, other)
    assert compared == (0, "31 interactions and 3 documents of 2 agents compared: all equal\n", "")
    in_storage(other, lambda storage: storage.store_system_state("setting", {"x": 2}))
    compared = run("compare", durable, other)
    assert compared.status == 1
    assert compared.out.splitlines()[0].startswith(
        "system state 'setting': data and version and updated_at differ"
    )
    assert "1 differ" in compared.out


# --- agents, show -------------------------------------------------------------------------------------------


def test_agents(store: str, capsys: Capture) -> None:
    fill(store)
    ran = call(capsys, "agents", store)
    assert ran.status == 0
    header, alice, bob = ran.out.splitlines()
    assert header.split() == ["interactions", "newest", "state", "agent"]
    assert alice.split()[0] == "30"
    assert alice.endswith("version 1  alice")
    assert bob.endswith(r"bob\x1b[31m")
    assert "\x1b" not in ran.out
    assert len(call(capsys, "agents", store, "--prefix", "al").out.splitlines()) == 2
    assert call(capsys, "agents", store, "--prefix", "z").err == "the storage has no agents named z...\n"


def test_agents_as_json(store: str, capsys: Capture) -> None:
    fill(store)
    lines = [json.loads(line) for line in call(capsys, "agents", store, "--json").out.splitlines()]
    assert [line["agent_id"] for line in lines] == ["alice", "bob\x1b[31m"]
    assert lines[0]["interactions"] == 30
    assert lines[0]["state_version"] == 1
    assert lines[1]["state_version"] is None


def test_many_agents(store: str, capsys: Capture) -> None:
    async def work(storage: Storage) -> None:
        for number in range(250):
            await storage.store_interaction(f"agent-{number:03}", {})

    in_storage(store, work)
    assert [line.split()[-1] for line in call(capsys, "agents", store).out.splitlines()[1:]] == [
        f"agent-{number:03}" for number in range(250)
    ]


def test_show(store: str, capsys: Capture) -> None:
    fill(store)
    ran = call(capsys, "show", "alice", store)
    assert ran.status == 0
    assert ran.out.startswith("alice: 30 interactions\n\nstate, version 1, ")
    assert '"mood": "good"' in ran.out
    assert "learned style, version 1, " in ran.out
    assert '"n": 29' in ran.out
    assert "#21  " in ran.out
    assert "#20  " not in ran.out
    assert "#" not in call(capsys, "show", "alice", store, "--last", "0").out
    assert "#28  " not in call(capsys, "show", "alice", "--storage", store, "--last", "1").out


def test_show_makes_text_harmless_and_cuts_long_payloads(store: str, capsys: Capture) -> None:
    fill(store)
    in_storage(
        store, lambda storage: storage.store_interaction("bob\x1b[31m", {"long": "x" * 5000, "e": "\x9b1m"})
    )
    ran = call(capsys, "show", "bob\x1b[31m", store)
    assert ran.status == 0
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    assert "characters; --json shows all" in ran.out
    assert len(ran.out) < 4000


def test_show_as_json(store: str, capsys: Capture) -> None:
    fill(store)
    shown = json.loads(call(capsys, "show", "alice", store, "--last", "2", "--json").out)
    assert shown["agent_id"] == "alice"
    assert shown["count"] == 30
    assert shown["state"]["data"] == {"mood": "good"}
    assert [one["key"] for one in shown["learning"]] == ["style"]
    assert [(one["sequence"], one["interaction"]) for one in shown["interactions"]] == [
        (29, {"n": 28}),
        (30, {"n": 29}),
    ]


def test_show_more_learning_data_than_it_shows(store: str, capsys: Capture) -> None:
    async def work(storage: Storage) -> None:
        for number in range(101):
            await storage.store_learning_data("alice", f"key-{number:03}", {})

    in_storage(store, work)
    shown = json.loads(call(capsys, "show", "alice", store, "--json").out)
    assert len(shown["learning"]) == 100
    assert shown["more_learning"] is True
    assert "... and more learning data" in call(capsys, "show", "alice", store).out


def test_show_an_agent_that_is_not_there(store: str, capsys: Capture) -> None:
    fill(store)
    ran = call(capsys, "show", "ali", store)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "oacp-storage: the storage has no agent 'ali'\n"
    assert call(capsys, "show", "", store).status == 2


FOUR_METHODS = """
from oacp_storage_core import StorageBackend
class Backend(StorageBackend):
    @classmethod
    def from_url(cls, url): return cls()
    async def store_interaction(self, agent_id, interaction): return "1"
    async def get_interactions(self, agent_id, limit=100):
        return [] if agent_id == "nobody" else [{"n": 1}, {"n": 2}][-limit:]
    async def store_agent_state(self, agent_id, state): return None
    async def get_agent_state(self, agent_id): return None if agent_id == "nobody" else {"mood": "plain"}
"""


def test_a_backend_with_four_methods(tmp_path: Path) -> None:
    info = tmp_path / "four-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: four\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(
        "[oacp_storage.backends]\nfour = four:Backend\nlame = lame:Backend\nodd = four:nothing\n"
    )
    tmp_path.joinpath("four.py").write_text(FOUR_METHODS)
    tmp_path.joinpath("lame.py").write_text("import nowhere_to_be_found")
    env = {"PYTHONPATH": str(tmp_path)}

    shown = run("show", "x", "four://", "--last", "1", env=env)
    assert shown.status == 0, shown.err
    assert '"mood": "plain"' in shown.out
    assert '"n": 2' in shown.out
    assert '"n": 1' not in shown.out

    nobody = run("show", "nobody", "four://", env=env)
    assert (nobody.status, nobody.out) == (2, "")
    assert "nothing of an agent 'nobody'" in nobody.err

    refused = run("import", "-", "--to", "four://", stdin=TEXT, env=env)
    assert refused.status == 3
    assert "only the four methods" in refused.err
    assert len(refused.err.splitlines()) == 1

    listed = run("backends", env=env)
    assert listed.status == 0
    rows = {line.split()[0]: line for line in listed.out.splitlines() if line.strip()}
    assert rows["four"].endswith("none (the four methods)")
    assert rows["lame"].endswith("broken, see below")
    assert "No module named 'nowhere_to_be_found'" in listed.out
    assert "has no attribute 'nothing'" in listed.out


# --- health, verify -----------------------------------------------------------------------------------------


def test_health(durable: str) -> None:
    fill(durable)
    ran = run("health", durable)
    assert (ran.status, ran.err) == (0, "")
    assert "a power cut" in ran.out
    found = json.loads(run("health", durable, "--json").out)
    assert found["ok"] is True
    assert found["durability"] == "power-cut"


@pytest.mark.parametrize("as_json", [False, True])
def test_health_of_a_storage_that_does_not_answer(as_json: bool, tmp_path: Path) -> None:
    tmp_path.joinpath("not.db").write_bytes(b"this is no database at all" * 100)
    ran = run("health", f"sqlite:///{tmp_path}/not.db", *(["--json"] if as_json else []))
    assert (ran.status, ran.err) == (1, "")
    assert (json.loads(ran.out)["ok"] is False) if as_json else ("not ok" in ran.out)


def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    tmp_path.joinpath("not.db").write_bytes(b"this is no database at all" * 100)
    for command in ("agents", "export", "verify"):
        ran = run(command, f"sqlite:///{tmp_path}/not.db")
        assert ran.status in {2, 3}
        assert ran.out == ""
        assert len(ran.err.splitlines()) == 1
        assert "not.db" in ran.err


def test_verify(durable: str) -> None:
    fill(durable)
    assert run("verify", durable) == (0, "no damage found\n", "")
    assert run("verify", durable, "--json") == (0, "", "")


def test_verify_names_damage(store: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Damage("interaction", "wrong checksum", "alice", 5),
        Damage("learning_data", "wrong checksum", "bob", key="style"),
        Damage("store", "a segment\x07 is missing"),
    ]

    async def verify(storage: MemoryStorage) -> AsyncIterator[Damage]:
        for one in found:
            yield one

    monkeypatch.setattr(MemoryStorage, "verify", verify)
    ran = call(capsys, "verify", store)
    assert ran.status == 1
    assert ran.out.splitlines() == [
        "interaction, of agent 'alice', sequence 5: wrong checksum",
        "learning data, of agent 'bob', key 'style': wrong checksum",
        r"store: a segment\x07 is missing",
        "3 damaged",
    ]
    ran = call(capsys, "verify", store, "--json")
    assert ran.status == 1
    assert json.loads(ran.out.splitlines()[0]) == {
        "kind": "interaction",
        "reason": "wrong checksum",
        "agent_id": "alice",
        "sequence": 5,
        "key": None,
    }


def test_tables_fit_a_terminal(durable: str) -> None:
    """As wide as COLUMNS says; names that do not fit go on in the next line, whole."""
    import subprocess

    long = "x" * 300
    in_storage(durable, lambda storage: storage.store_interaction(long, {}))
    done = subprocess.run(
        [sys.executable, "-m", "oacp_storage", "agents", durable],
        capture_output=True,
        env=environment({"COLUMNS": "60"}),
        timeout=60,
        check=True,
    )
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.count("x") for line in lines) == 300
