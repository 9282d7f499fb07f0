"""Given ids: found however long the log is, whichever process wrote it, and gone with their interactions."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from file_world import World, append, contents, ids_of, said
from oacp_storage_engine import Applied, Duplicate, Unit
from oacp_storage_file import ids_index, lines, log_reader


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a short log uses the database, and takes several steps to index."""
    monkeypatch.setattr(ids_index, "_MOST_IN_MEMORY", 12)
    monkeypatch.setattr(ids_index, "_WORTH_KEEPING", 4)
    monkeypatch.setattr(ids_index, "_STEP", 7)
    monkeypatch.setattr(ids_index, "_PAGE", 3)


def once(agent: str, one: str, text: str = "t") -> Unit:
    return Unit(agent, (append(agent, one, {"text": text}, given=True),))


def test_ids_of_many_agents_in_one_commit_are_found_when_not_all_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making room for one agent must not forget another one that the same commit asks for."""
    monkeypatch.setattr(ids_index, "_MOST_IN_MEMORY", 12)
    agents = [f"agent-{number}" for number in range(5)]
    units = [once(agent, f"id-{number}") for agent in agents for number in range(10)]
    world = World(tmp_path / "store")
    world.commit(*units)
    for again in (world, World(tmp_path / "store")):
        for outcome in again.commit(*units):
            assert isinstance(outcome, Applied)
            assert outcome.existing == (0,)
        again.close()
    assert ids_of(contents(tmp_path / "store"), "agent-0") == [f"id-{number}" for number in range(10)]


@pytest.mark.usefixtures("small")
def test_random_histories_of_two_processes(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    worlds = [World(tmp_path / "store", max_file_size=900) for _ in range(2)]
    model: dict[str, dict[str, int]] = {agent: {} for agent in "abc"}
    heads = dict.fromkeys("abc", 0)
    generated = 0
    for _ in range(600):
        world = rng.choice(worlds)
        agent = rng.choice("abc")
        kind = rng.random()
        if kind < 0.6:
            one = f"id-{rng.randrange(60)}"
            (outcome,) = world.commit(once(agent, one))
            assert isinstance(outcome, Applied)
            if one in model[agent]:
                assert outcome.existing == (0,)
                assert outcome.sequences == (model[agent][one],)
            else:
                heads[agent] += 1
                assert outcome == Applied((heads[agent],))
                model[agent][one] = heads[agent]
        elif kind < 0.8:
            generated += 1
            world.commit(said(agent, f"generated-{generated}"))
            heads[agent] += 1
            model[agent][f"generated-{generated}"] = heads[agent]
        elif kind < 0.9:
            wanted = [*rng.sample(sorted(model[agent]), min(3, len(model[agent]))), "never"]
            found = world.committer.find(agent, wanted)
            assert {one.id: one.sequence for one in found} == {w: model[agent][w] for w in wanted[:-1]}
        elif kind < 0.97:
            keep = rng.randrange(30)
            world.trim(agent, keep_last=keep)
            kept = sorted(model[agent], key=lambda one: model[agent][one])[-keep:] if keep else []
            model[agent] = {one: model[agent][one] for one in kept}
        else:
            world.erase(agent)
            model[agent].clear()
    for world in worlds:
        world.close()
    for agent, ids in model.items():
        assert ids_of(contents(tmp_path / "store"), agent) == sorted(ids, key=lambda one: ids[one])


@pytest.mark.usefixtures("small")
def test_another_payload_is_refused_wherever_the_first_one_is(tmp_path: Path) -> None:
    world = World(tmp_path / "store", max_file_size=900)
    for n in range(40):
        world.commit(once("a", f"id-{n}"))
    world.close()
    for n in (0, 20, 39):
        world = World(tmp_path / "store", max_file_size=900)
        assert world.commit(once("a", f"id-{n}", "another")) == [Duplicate(0, n + 1)]
        world.close()


@pytest.mark.usefixtures("small")
def test_the_database_is_derived(tmp_path: Path) -> None:
    root = tmp_path / "store"
    world = World(root)
    for n in range(40):
        world.commit(once("a", f"id-{n}"))
    world.close()
    database = root / "namespaces/n-default/agents/a-a/ids.sqlite3"
    assert database.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM ids").fetchone()[0] >= 12
    connection.close()
    for state in ("gone", "garbage", "of another log"):
        if state == "gone":
            database.unlink()
        elif state == "garbage":
            database.write_bytes(b"garbage" * 1000)
        else:
            other = World(tmp_path / "other")
            for n in range(40):
                other.commit(once("a", f"other-{n}"))
            other.close()
            database.write_bytes(
                (tmp_path / "other/namespaces/n-default/agents/a-a/ids.sqlite3").read_bytes()
            )
        world = World(root)
        assert world.commit(once("a", "id-3"), once("a", "other-3"))[0] == Applied((4,), (), (0,))
        found = world.committer.find("a", ["id-0", "id-39", "other-3", "other-4"])
        assert sorted(one.id for one in found) == ["id-0", "id-39", "other-3"]
        world.trim("a", keep_last=1)
        world.close()
        (root / "namespaces/n-default/agents/a-a").rename(root / f"used-{state.replace(' ', '-')}")
        world = World(root)
        for n in range(40):
            world.commit(once("a", f"id-{n}"))
        world.close()


def test_generated_ids_cost_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path / "store")
    world.commit(said("a", *(f"g{n}" for n in range(3000))))
    monkeypatch.setattr(ids_index, "read_page", None)
    monkeypatch.setattr(ids_index.IdIndex, "find", None)
    world.commit(said("a", "g3000"))
    world.close()


def test_given_ids_cost_the_same_in_a_longer_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0
    really = lines.parse_line

    def counting(line: bytes) -> object:
        nonlocal parsed
        parsed += 1
        return really(line)

    costs = []
    for count in (2_000, 20_000):
        world = World(tmp_path / str(count))
        world.commit(said("a", *(f"g{n}" for n in range(count))))
        world.commit(once("a", "first"))  # indexes what is there
        monkeypatch.setattr(log_reader, "parse_line", counting)
        parsed = 0
        for n in range(20):
            world.commit(once("a", f"new-{n}"))
            world.commit(once("a", f"new-{n}"))
        costs.append(parsed)
        monkeypatch.setattr(log_reader, "parse_line", really)
        world.close()
    assert costs[1] <= 1.5 * costs[0]  # the place where bisection ends differs a little
