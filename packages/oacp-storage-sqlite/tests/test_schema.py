"""The schema: explained in the file itself, queried through views, upgraded in place by many processes at once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oacp_storage_core import SchemaVersionError
from oacp_storage_engine import Applied
from oacp_storage_sqlite import SQLiteStorage
from oacp_storage_sqlite.engine import SQLiteEngine
from oacp_storage_sqlite.schema import SCHEMA, Schema
from sqlite_testing import appends, make_engine, opened, plain, soon, start_python

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.asyncio
async def test_views_show_everything_in_sql(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    at = datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)
    long_ago = datetime(1, 1, 1, 0, 0, 0, 1, UTC)
    async with SQLiteStorage(path) as storage, SQLiteStorage(path, namespace="other") as other:
        await storage.store_interaction(
            "ann", {"role": "user", "n": [1, 2.5]}, interaction_id="one", timestamp=at
        )
        await storage.store_interaction("ann", {"role": "tool"}, interaction_id="two", timestamp=long_ago)
        await storage.store_interaction("bob", {"role": "user"})
        await storage.store_agent_state("ann", {"step": 1})
        await storage.store_agent_state("ann", {"step": 2})
        await storage.store_learning_data("ann", "likes", {"tea": True})
        await storage.store_system_state("lease", {"owner": "ann"})
        await other.store_interaction("ann", {"role": "else"})
        await storage.delete_agent("bob")
    with plain(path) as connection:
        rows = connection.execute(
            "SELECT agent_id, sequence, id, time, data FROM interactions "
            "WHERE namespace = 'default' AND agent_id = 'ann' ORDER BY sequence"
        ).fetchall()
        assert rows == [
            ("ann", 1, "one", "2024-02-29T23:59:59.123456Z", '{"role":"user","n":[1,2.5]}'),
            ("ann", 2, "two", "0001-01-01T00:00:00.000001Z", '{"role":"tool"}'),
        ]
        assert [datetime.fromisoformat(row[3]) for row in rows] == [at, long_ago]
        roles = "SELECT json_extract(data, '$.role') FROM interactions WHERE namespace = 'other'"
        assert connection.execute(roles).fetchall() == [("else",)]
        assert connection.execute("SELECT * FROM agents ORDER BY 1, 2").fetchall() == [
            ("default", "ann", 2),
            ("other", "ann", 1),
        ]
        state = connection.execute("SELECT namespace, agent_id, version, data FROM agent_states").fetchall()
        assert state == [("default", "ann", 2, '{"step":2}')]
        learned = connection.execute("SELECT agent_id, key, version, data FROM learning_data").fetchall()
        assert learned == [("ann", "likes", 1, '{"tea":true}')]
        system = connection.execute("SELECT key, version, data FROM system_state").fetchall()
        assert system == [("lease", 1, '{"owner":"ann"}')]
        for view in ("agent_states", "learning_data", "system_state"):
            (updated,) = connection.execute(f"SELECT updated_at FROM {view}").fetchone()
            assert abs((datetime.now(UTC) - datetime.fromisoformat(updated)).total_seconds()) < 60


@pytest.mark.asyncio
async def test_the_file_explains_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path)):
        pass
    assert path.read_bytes()[68:72] == b"OACP"
    with plain(path) as connection:
        made = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
        tables = {name for kind, name, _ in made if kind == "table" and name.startswith("oacp_")}
        views = {name for kind, name, _ in made if kind == "view"}
        for kind, name, sql in made:
            assert "--" in sql or kind == "index" or name == "sqlite_sequence", name
        readme = README.read_text()
        assert [name for name in sorted(tables | views) if f"`{name}`" not in readme] == []
        for view in views:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({view})")]
            (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{view}` |")]
            assert [column for column in columns if f"`{column}`" not in line] == [], view


def plans(connection: sqlite3.Connection, statement: str) -> str:
    return " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))


@pytest.mark.asyncio
async def test_one_agents_log_is_found_by_index(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path)):
        pass
    one_agent = "FROM interactions WHERE namespace = 'default' AND agent_id = 'ann'"
    with plain(path) as connection:
        newest = plans(connection, f"SELECT * {one_agent} ORDER BY sequence DESC LIMIT 100")
        assert "SCAN" not in newest
        assert "TEMP B-TREE" not in newest
        assert "oacp_interactions_by_sequence" in newest
        by_id = plans(connection, f"SELECT * {one_agent} AND id = 'x'")
        assert "SCAN" not in by_id
        state = plans(
            connection, "SELECT * FROM agent_states WHERE namespace = 'default' AND agent_id = 'ann'"
        )
        assert "SCAN" not in state


# --- versions ------------------------------------------------------------------------------------------------


def add_mood(connection: sqlite3.Connection) -> None:
    """A step of an imagined second version."""
    connection.execute("ALTER TABLE oacp_agents ADD COLUMN mood TEXT DEFAULT 'calm'")


SECOND = Schema(2, {**SCHEMA.steps, 2: add_mood})


def second_engine(path: Path) -> SQLiteEngine:
    return make_engine(path, schema=SECOND)


@pytest.mark.asyncio
async def test_an_older_database_is_upgraded_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path)) as engine:
        await engine.commit("1", [appends("ann", ["1"])], deadline=soon())
    async with opened(second_engine(path)) as engine:
        assert (await engine.inspect()).schema_version == 2
        assert await engine.commit("2", [appends("ann", ["2"])], deadline=soon()) == [Applied((2,))]
    with plain(path) as connection:
        assert connection.execute("SELECT name, mood FROM oacp_agents").fetchall() == [("ann", "calm")]
    with pytest.raises(SchemaVersionError, match="has schema version 2; this release knows versions up to 1"):
        async with opened(make_engine(path)):
            pass


@pytest.mark.asyncio
async def test_a_new_database_goes_through_every_step(tmp_path: Path) -> None:
    async with opened(second_engine(tmp_path / "a.db")) as engine:
        assert (await engine.inspect()).schema_version == 2
        await engine.commit("1", [appends("ann", ["1"])], deadline=soon())


@pytest.mark.asyncio
async def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path)) as engine:
        await engine.commit("1", [appends("ann", ["1"])], deadline=soon())

    def fail_halfway(connection: sqlite3.Connection) -> None:
        add_mood(connection)
        raise RuntimeError("the step has a bug")

    with pytest.raises(RuntimeError, match="bug"):
        async with opened(make_engine(path, schema=Schema(2, {**SCHEMA.steps, 2: fail_halfway}))):
            pass
    async with opened(make_engine(path)) as engine:
        assert await engine.commit("2", [appends("ann", ["2"])], deadline=soon()) == [Applied((2,))]
    with plain(path) as connection:
        assert "mood" not in {row[1] for row in connection.execute("PRAGMA table_info(oacp_agents)")}


@pytest.mark.asyncio
async def test_an_older_release_stops_writing_when_the_database_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(make_engine(path)) as older:
        await older.commit("1", [appends("ann", ["1"])], deadline=soon())
        async with opened(second_engine(path)) as newer:
            await newer.commit("2", [appends("ann", ["2"])], deadline=soon())
            with pytest.raises(SchemaVersionError, match=r"has schema version 2 by now.*nothing was written"):
                await older.commit("3", [appends("ann", ["3"])], deadline=soon())
            with plain(path) as connection:
                connection.execute("ALTER TABLE oacp_interactions RENAME COLUMN body TO content")
            with pytest.raises(SchemaVersionError):
                await older.read_log("ann", 0, None, reverse=False, limit=9, max_bytes=9)


OPEN_SECOND = """
import asyncio, json, sys
from pathlib import Path
from sqlite_testing import appends, make_engine, opened, soon
from test_schema import second_engine

async def main():
    path, name, version = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    print("ready", flush=True)
    sys.stdin.readline()
    async with opened(second_engine(path) if version == "2" else make_engine(path)) as engine:
        outcomes = await engine.commit("1", [appends("ann", [name])], deadline=soon(20))
        print(json.dumps([outcomes[0].sequences[0], (await engine.inspect()).schema_version]))

asyncio.run(main())
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("found", ["nothing", "version 1"])
async def test_many_processes_open_at_once(tmp_path: Path, found: str) -> None:
    """They make the database, or upgrade it, once."""
    path = tmp_path / "new" / "a.db"
    count, version = 8, 1 if found == "nothing" else 2
    if version == 2:
        async with opened(make_engine(path)):
            pass
    processes = [start_python(OPEN_SECOND, path, f"process {n}", version) for n in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    results = await asyncio.gather(
        *[asyncio.to_thread(process.communicate, "go\n", 60) for process in processes]
    )
    assert [err for _, err in results] == [""] * count
    told = [json.loads(out) for out, _ in results]
    assert sorted(sequence for sequence, _ in told) == list(range(1, count + 1))
    assert {seen for _, seen in told} == {version}
    with plain(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
