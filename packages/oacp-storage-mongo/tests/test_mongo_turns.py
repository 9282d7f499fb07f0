"""Processes that append to the same agents take turns; who dies in its turn is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from mongo_testing import name_of
from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_mongo import MongoStorage
from oacp_storage_mongo.driver import make_driver
from oacp_storage_mongo.finishing import Finishing
from oacp_storage_mongo.layout import RECEIPTS, SCHEMA_VERSION
from oacp_storage_mongo.store import Store
from oacp_storage_mongo.turns import Turns

TASKS = 16
EACH = 60


@asynccontextmanager
async def line_of(server: MongoServer, namespace: str) -> AsyncIterator[Any]:
    """A call that gives the line of a namespace, None where nobody ever stood in one; with names, it writes it."""
    async with AsyncMongoClient[dict[str, Any]](server.url) as client:
        receipts = client["oacp"][RECEIPTS]
        key = {"_id": f"line/{namespace}"}

        async def line(*names: str) -> list[str] | None:
            if names:
                written = {"schema": SCHEMA_VERSION, "at": datetime.now(UTC), "line": list(names)}
                await receipts.replace_one(key, written, upsert=True)
            found = await receipts.find_one(key)
            return None if found is None else found["line"]

        yield line


@asynccontextmanager
async def turns_of(server: MongoServer, namespace: str) -> AsyncIterator[Turns]:
    """Turns of somebody who was refused twice."""
    driver, finishing = make_driver("motor", server.url, "oacp", {}), Finishing()
    turns = Turns(Store(driver, namespace, pool_size=1, finishing=finishing))
    for _ in range(2):
        turns.refused()
    yield turns
    turns.end()
    await finishing.ended()
    await driver.close()


@pytest.mark.asyncio
async def test_two_that_append_to_the_same_agents_come_on_alike(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    url, namespace = oacp_mongo_server.url, name_of(request)
    appended = {0: 0, 1: 0}
    when_one_had_all: dict[int, int] = {}

    async def append(storage: MongoStorage, who: int, task: int) -> None:
        for n in range(EACH):
            await storage.store_interaction(f"agent {(task + n) % 4}", {"who": who, "task": task, "n": n})
            appended[who] += 1
            if appended[who] == TASKS * EACH and not when_one_had_all:
                when_one_had_all.update(appended)

    async with MongoStorage(url, namespace=namespace) as one, MongoStorage(url, namespace=namespace) as other:
        async with asyncio.TaskGroup() as tasks:
            for who, storage in enumerate((one, other)):
                for task in range(TASKS):
                    tasks.create_task(append(storage, who, task))
        logs = [await whole_log(one, f"agent {n}") for n in range(4)]
    for log in logs:
        assert [each.sequence for each in log] == list(range(1, len(log) + 1))
    assert sum(map(len, logs)) == 2 * TASKS * EACH
    assert min(when_one_had_all.values()) > TASKS * EACH // 4
    async with line_of(oacp_mongo_server, namespace) as line:
        assert await line() == []  # they stood in one, and left it


@pytest.mark.asyncio
async def test_who_writes_alone_stands_in_no_line(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    namespace = name_of(request)
    async with MongoStorage(oacp_mongo_server.url, namespace=namespace) as storage:
        await asyncio.gather(*(storage.store_interaction("ann", {"n": n}) for n in range(300)))
    async with line_of(oacp_mongo_server, namespace) as line:
        assert await line() is None


@pytest.mark.asyncio
async def test_who_dies_in_its_turn_is_passed_over(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    namespace = name_of(request)
    deadline = asyncio.get_running_loop().time() + 60
    async with (
        line_of(oacp_mongo_server, namespace) as line,
        turns_of(oacp_mongo_server, namespace) as turns,
    ):
        await line("dead", "dead too")
        assert await turns.take(deadline)
        (ours,) = await line()
        assert ours not in ("dead", "dead too")
        assert not await turns.take(deadline)  # it lasts


@pytest.mark.asyncio
async def test_a_turn_is_given_back_when_nothing_more_comes(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    namespace = name_of(request)
    loop = asyncio.get_running_loop()
    async with (
        line_of(oacp_mongo_server, namespace) as line,
        turns_of(oacp_mongo_server, namespace) as one,
        turns_of(oacp_mongo_server, namespace) as other,
    ):
        assert await one.take(loop.time() + 60)
        waiting = asyncio.ensure_future(other.take(loop.time() + 60))
        while len(await line()) < 2:
            assert not waiting.done()
        one.give()
        assert await waiting
        while len(await line()) > 1:
            await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_no_turn_is_waited_for_longer_than_a_call_may_take(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = name_of(request)
    monkeypatch.setattr("oacp_storage_mongo.turns._LOST", 3600.0)
    async with (
        line_of(oacp_mongo_server, namespace) as line,
        turns_of(oacp_mongo_server, namespace) as turns,
    ):
        await line("slow")
        assert await turns.take(asyncio.get_running_loop().time() + 0.05)
        turns.end()
        while await line() != ["slow"]:
            await asyncio.sleep(0)
