"""Real agent traffic through the store and back, what it looks like there, and what a call costs in a long history."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from mongo_testing import name_of
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_mongo import MongoStorage

TRAFFIC = Path(__file__).parents[3].parent / "shared" / "data" / "interactions.jsonl.gz"
README = (Path(__file__).parent.parent / "README.md").read_text()
LONG = int(os.environ.get("OACP_TEST_MONGO_HISTORY", "100000"))
"""How long the long history is; 1000000 takes some minutes."""


@pytest.mark.skipif(not TRAFFIC.exists(), reason=f"the recorded traffic is not at {TRAFFIC}")
@pytest.mark.asyncio
async def test_all_of_the_traffic_comes_back_as_it_was(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    of_agent: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(TRAFFIC, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            of_agent[row["agent_id"]].append(row["interaction"])
    agents = list(of_agent)
    async with MongoStorage(oacp_mongo_server.url, namespace=name_of(request), timeout=120) as storage:
        for i in range(0, len(agents), 50):
            part = agents[i : i + 50]
            await asyncio.gather(*[storage.store_interactions(agent, of_agent[agent]) for agent in part])
        assert await storage.list_agents(limit=10_000) == sorted(of_agent)
        for agent, interactions in of_agent.items():
            found = [one async for one in storage.iter_interactions(agent)]
            assert [one.sequence for one in found] == list(range(1, len(interactions) + 1))
            assert list(map(json.dumps, (one.data for one in found))) == list(map(json.dumps, interactions))
        cicero = next(agent for agent, rows in of_agent.items() if rows[0]["source"] == "cicero")
        orders = [one.data async for one in storage.iter_interactions(cicero, where={"type": "order"})]
        assert orders == [one for one in of_agent[cicero] if one["type"] == "order"]


@pytest.mark.asyncio
async def test_cost_does_not_grow_with_the_history() -> None:
    """Compared is the best of many rounds; the limit is far from what a cost that grows would be, a hundredfold."""
    costs: dict[str, dict[int, float]] = {"append": {}, "last 100": {}}
    with MongoServer() as server:
        async with MongoStorage(server.url, timeout=120) as storage:
            for length in (1000, LONG):
                while missing := length - await storage.count_interactions("ann"):
                    await storage.store_interactions(
                        "ann", [{"n": 1, "text": "x" * 100}] * min(missing, 10_000)
                    )
                for name, of_length in costs.items():
                    rounds = []
                    for n in range(60):
                        begun = time.perf_counter()
                        if name == "append":
                            await storage.store_interaction("ann", {"n": n, "text": "y" * 100})
                        else:
                            assert len(await storage.get_interactions("ann", 100)) == 100
                        rounds.append(time.perf_counter() - begun)
                    of_length[length] = min(rounds)
    print(
        {name: {length: f"{cost * 1e3:.2f} ms" for length, cost in of.items()} for name, of in costs.items()}
    )
    for name, of_length in costs.items():
        assert of_length[LONG] < 4 * of_length[1000], name


@pytest.mark.asyncio
async def test_payloads_can_be_queried_as_what_they_are(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    """Beside the exact bytes stands a document; what MongoDB has no equal for is stored all the same."""
    when = datetime(2024, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)
    odd: list[dict[str, Any]] = [
        {"n": 2**63},
        {"a\0b": 1},
        {"$set": {"x": 1}},
        {"deep": {"$ref": "c", "$id": 1}},
    ]
    plain = {
        "n": 2**40,
        "x": 1.5,
        "who": {"name": "Ann", "tags": ["a", None, True]},
        "a.b": 1,
        "_id": 7,
        "": 0,
    }
    name = name_of(request)
    async with MongoStorage(oacp_mongo_server.url, database=name) as storage:
        await storage.store_interaction("ann", plain, timestamp=when)
        await storage.store_interactions("ann", odd)
        await storage.store_agent_state("ann", {"mood": "good"})
        assert await storage.get_interactions("ann") == [plain, *odd]
        assert plain["_id"] == 7
        found = [one.data async for one in storage.iter_interactions("ann", where={"n": 2**63})]
        assert found == [odd[0]]
        found = [one.data async for one in storage.iter_interactions("ann", where={"who.tags.0": "a"})]
        assert found == [plain]
    client: MongoClient[dict[str, Any]] = MongoClient(oacp_mongo_server.url)
    with client:
        (stored,) = client[name].interactions.find(
            {"agent_id": "ann", "data.who.name": "Ann", "data.n": 2**40}
        )
        assert stored["data"] == plain
        assert list(stored["data"]) == list(plain)
        assert stored["timestamp"] == datetime(2024, 5, 1, 12, 30, 15, 123000)  # noqa: DTZ001 - as the driver has it
        assert client[name].interactions.count_documents(
            {"agent_id": "ann", "data": {"$exists": False}}
        ) == len(odd)
        assert client[name].documents.count_documents({"kind": "state", "data.mood": "good"}) == 1
        client.drop_database(name)


@pytest.mark.asyncio
async def test_the_readme_example_is_a_program(oacp_mongo_server: MongoServer) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    url = oacp_mongo_server.url
    exec(program.replace("mongodb://localhost:27017", url).partition("asyncio.run")[0], names)
    await names["main"]()
    async with MongoStorage(url) as storage:
        assert (await storage.get_interactions("alice"))[-1] == {"role": "user", "content": "hello"}
        await storage.delete_agent("alice")


@pytest.mark.asyncio
async def test_who_knows_an_older_log_takes_no_place_in_it(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    """Two processes remember the end of a log; one removes its end, or all of it, before the other appends."""
    url, namespace = oacp_mongo_server.url, name_of(request)
    async with (
        MongoStorage(url, namespace=namespace) as here,
        MongoStorage(url, namespace=namespace, driver="pymongo") as there,
    ):
        for n in range(1, 6):
            await here.store_interaction("ann", {"n": n})
        for n in range(6, 11):
            await there.store_interaction("ann", {"n": n})
        assert await there.delete_interactions("ann", keep_last=0) == 10
        await here.store_interaction("ann", {"n": 11})
        assert [one.sequence async for one in here.iter_interactions("ann")] == [11]
        await there.delete_agent("ann")
        await here.store_interaction("ann", {"n": 12})
        await there.store_interaction("ann", {"n": 13})
        assert [one.sequence async for one in there.iter_interactions("ann")] == [12, 13]
        await there.delete_agent("ann")
        await there.store_agent_state("ann", {})
        await here.store_interaction("ann", {"n": 14})
        assert [one.sequence async for one in there.iter_interactions("ann")] == [14]
        await here.store_agent_state("bob", {})
        await here.delete_agent("bob")  # who never had any interaction
        await there.store_interaction("bob", {"n": 1})
        await here.store_interaction("bob", {"n": 2})
        assert [one.sequence async for one in here.iter_interactions("bob")] == [1, 2]
        assert [damage async for damage in here.verify()] == []
