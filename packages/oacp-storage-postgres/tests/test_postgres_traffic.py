"""Real agent traffic through the store and back, the use that is documented, and the cost of calls on a long log."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from oacp_storage.agent_system import AgentSystem, Contribution
from oacp_storage_conformance.servers import PostgresServer
from oacp_storage_engine import Append, DocKind, Put, Unit
from oacp_storage_postgres import PostgreSQLStorage
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.commits import group_arguments, is_plain, write_arguments
from oacp_storage_postgres.schema import SCHEMA_VERSION
from postgres_testing import fresh_database, query

TRAFFIC = Path(__file__).parents[3].parent / "shared" / "data" / "interactions.jsonl.gz"
README = (Path(__file__).parent.parent / "README.md").read_text()
LONG = int(os.environ.get("OACP_TEST_POSTGRES_HISTORY", "100000"))
"""How long the long history is; 1000000 takes some minutes."""


@pytest.mark.skipif(not TRAFFIC.exists(), reason=f"the recorded traffic is not at {TRAFFIC}")
@pytest.mark.asyncio
async def test_all_of_the_traffic_comes_back_as_it_was(database: str) -> None:
    of_agent: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(TRAFFIC, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            of_agent[row["agent_id"]].append(row["interaction"])
    async with PostgreSQLStorage(database) as storage:
        turns = asyncio.Semaphore(50)

        async def store(agent: str, interactions: list[dict[str, Any]]) -> None:
            async with turns:
                await storage.store_interactions(agent, interactions)

        await asyncio.gather(*(store(agent, interactions) for agent, interactions in of_agent.items()))
        assert await storage.list_agents(limit=10_000) == sorted(of_agent)
        for agent, interactions in of_agent.items():
            found = [one async for one in storage.iter_interactions(agent)]
            assert [one.sequence for one in found] == list(range(1, len(interactions) + 1))
            assert list(map(json.dumps, (one.data for one in found))) == list(map(json.dumps, interactions))
        cicero = next(agent for agent, rows in of_agent.items() if rows[0]["source"] == "cicero")
        orders = [one.data async for one in storage.iter_interactions(cicero, where={"type": "order"})]
        assert orders == [one for one in of_agent[cicero] if one["type"] == "order"]
    ((told,),) = await query(database, "SELECT sum(interactions) FROM oacp.interactions_by_type")
    assert told == sum(map(len, of_agent.values()))


class Greeter:
    name = "greeter"

    async def act(self, task: dict[str, Any], said: Any, memory: Any) -> Contribution:
        return Contribution({"text": f"hello, {task['who']}"}, done=True)


@pytest.mark.asyncio
async def test_the_lines_of_the_documentation_work_as_written(
    database: str, oacp_postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oacp.storage import PostgreSQLStorage as Named

    assert Named is PostgreSQLStorage
    place = urlsplit(database)
    monkeypatch.setenv("PGPORT", str(place.port))
    await query(database, "CREATE ROLE oacp_user LOGIN SUPERUSER")
    try:
        storage = Named(
            host=place.hostname,
            database=place.path[1:],
            user="oacp_user",
            password="your_password",
        )
        await use(storage)
    finally:
        await query(database, "REASSIGN OWNED BY oacp_user TO CURRENT_USER; DROP ROLE oacp_user;")
    with fresh_database(oacp_postgres_server.url) as another:
        storage = Named(
            connection_string=another,
            pool_size=20,
            max_overflow=30,
            enable_json_indexing=True,
            partition_by_date=True,
        )
        await use(storage)


async def use(storage: PostgreSQLStorage) -> None:
    agents = [Greeter()]
    system = AgentSystem(agents=agents, storage=storage)
    messages = [message async for message in system.run([{"who": "world"}])]
    assert messages[0]["text"] == "hello, world"
    assert await storage.list_agents() != []
    await storage.close()


async def pages(connection: Any, statement: str, *arguments: Any) -> int:
    """How many pages the server touches for the statement, once it is used to it."""
    touched = 0
    for _ in range(3):
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments)
        top = json.loads(plan)[0]["Plan"]
        touched = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return touched


@pytest.mark.asyncio
async def test_cost_does_not_grow_with_the_history(database: str) -> None:
    """Compared are the pages that the server touches for a call, which no other load on the machine changes."""
    touched: dict[str, dict[int, int]] = defaultdict(dict)
    connection = await asyncpg.connect(database)
    attempts = iter(range(1000))

    async def commit(units: list[Unit]) -> int:
        statement, arguments = (
            (sql.WRITE_GROUP, write_arguments(units))
            if is_plain(units)
            else (sql.COMMIT_GROUP, group_arguments(units))
        )
        # Each of the three runs needs an attempt of its own.
        numbered = statement.replace("$3::text,", "$3::text || nextval('attempts'),", 1)
        return await pages(connection, numbered, SCHEMA_VERSION, "default", f"{next(attempts)}-", *arguments)

    try:
        await connection.execute("CREATE SEQUENCE attempts")
        async with PostgreSQLStorage(database) as storage:
            for length in (1000, LONG):
                while missing := length - await storage.count_interactions("ann"):
                    rows = [{"n": 1, "text": "x" * 100}] * min(missing, 10_000)
                    await storage.store_interactions("ann", rows)
                await connection.execute("VACUUM ANALYZE oacp.interactions")
                append = Append(f"generated {length}", False, 1, b"{}", 1)
                touched["append"][length] = await commit([Unit("ann", (append,))])
                state = Put(DocKind.STATE, "", b"{}", 1, 1)
                turn = Unit("ann", (Append(f"given {length}", True, 1, b"{}", 1),), (state,), turn=False)
                touched["turn"][length] = await commit([turn])
                last = sql.read_log(reverse=True, conditions="")
                touched["last 100"][length] = await pages(
                    connection, last, "ann", "default", 0, 2**62, 100, 1 << 22
                )
    finally:
        await connection.close()
    print(dict(touched))
    for name, of_length in touched.items():
        assert of_length[LONG] - of_length[1000] < 10, (name, of_length)  # trees are a level or two deeper


@pytest.mark.asyncio
async def test_the_readme_example_is_a_program(database: str) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    source = program.replace("postgresql://user:pass@localhost:5432/oacp", database)
    exec(source.partition("asyncio.run")[0], names)
    await names["main"]()
    async with PostgreSQLStorage(database) as storage:
        assert await storage.get_interactions("alice") == [{"role": "user", "content": "hello"}]
    reports = re.findall(r"```sql\n(SELECT .*?)```", README, re.DOTALL)
    assert reports
    for statement in reports[0].split(";"):
        if statement.strip():
            assert len(await query(database, statement)) == 1


def test_the_table_of_options_is_the_signature() -> None:
    table = README.partition("## Options")[2].partition("## What is where")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE))
    parameters = inspect.signature(PostgreSQLStorage).parameters.values()
    assert told == {one.name: repr(one.default).replace("'", '"') for one in parameters}
