"""What one call sends: statements that the server takes, whatever is in them, and reads of no more than is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from mongo_testing import name_of
from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_engine import NotApplied
from oacp_storage_mongo import MongoStorage, commits, inserting
from oacp_storage_mongo.store import Store

DRIVERS = ("motor", "pymongo")
DENSE = {"ones": [1] * 500_000}
"""A megabyte of JSON, which is five times that as the document beside it."""


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch, *, failing: int = 0) -> Iterator[list[tuple[int, int]]]:
    """How many documents each statement inserts, and their bytes.

    As many as ``failing``, from the second on, fail after they were sent.
    """
    sizes: list[tuple[int, int]] = []
    insert = Store.insert
    failures = failing

    async def counting(self: Store, documents: Any, session: Any = None) -> None:
        nonlocal failures
        sizes.append((len(documents), sum(len(one.raw) for one in documents)))
        await insert(self, documents, session)
        if len(sizes) > 1 and failures:
            failures -= 1
            raise NotApplied("the server ended the transaction")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "insert", counting)
        yield sizes


@pytest.mark.asyncio
async def test_what_is_dense_as_json_is_not_too_large_for_one_statement(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MongoStorage(oacp_mongo_server.url, namespace=name_of(request)) as storage:
        await storage.store_interaction("ann", {"n": 0})
        with statements(monkeypatch) as sizes:
            await asyncio.gather(*[storage.store_interaction("ann", DENSE) for _ in range(3)])
            await storage.store_interactions("ann", [DENSE] * 3)
        assert max(size for _, size in sizes) < 16_000_000
        assert await storage.get_interactions("ann") == [{"n": 0}, *[DENSE] * 6]


@pytest.mark.asyncio
async def test_what_the_driver_finds_too_large_is_sent_in_halves(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may take less than it does today."""
    monkeypatch.setattr(commits, "_STATEMENT_BYTES", 10**9)
    async with MongoStorage(oacp_mongo_server.url, namespace=name_of(request)) as storage:
        await storage.store_interaction("ann", {"n": 0})
        with statements(monkeypatch) as sizes:
            await asyncio.gather(*[storage.store_interaction("ann", DENSE) for _ in range(3)])
        assert [count for count, _ in sizes] == [3, 1, 2]
        assert await storage.get_interactions("ann") == [{"n": 0}, *[DENSE] * 3]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_batch_of_several_statements_is_whole_and_in_order(
    oacp_mongo_server: MongoServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    driver: Any,
) -> None:
    """The next documents are encoded while a statement is under way; where one fails, all of it is sent again."""
    monkeypatch.setattr(inserting, "_STATEMENT_BYTES", 20_000)
    batch = [{"n": n, "text": "x" * (n % 500)} for n in range(500)]
    async with MongoStorage(oacp_mongo_server.url, namespace=name_of(request), driver=driver) as storage:
        with statements(monkeypatch, failing=2) as sizes:
            await storage.store_interactions("ann", batch)
        assert len(sizes) > 10
        assert max(size for _, size in sizes) <= 20_000
        log = await whole_log(storage, "ann")
        assert [(one.sequence, one.data) for one in log] == list(enumerate(batch, 1))


@pytest.mark.asyncio
async def test_retention_by_age_reads_no_interactions(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it looks for stands in an index, so that a long log is not read with all its bodies."""
    asked: list[list[Any]] = []
    all_of = Store.all_of

    async def noting(self: Store, collection: Any, pipeline: Any, **options: Any) -> Any:
        if collection.name == "interactions":
            asked.append(list(pipeline))
        return await all_of(self, collection, pipeline, **options)

    begun = datetime(2026, 1, 1, tzinfo=UTC)
    name = name_of(request)
    async with MongoStorage(oacp_mongo_server.url, database=name) as storage:
        for n in range(10):
            await storage.store_interaction("ann", {"n": n}, timestamp=begun + timedelta(days=n))
        before = begun + timedelta(days=7)
        client: MongoClient[dict[str, Any]] = MongoClient(oacp_mongo_server.url)
        with client, monkeypatch.context() as patched:
            patched.setattr(Store, "all_of", noting)
            assert await storage.delete_interactions("ann", before=before, dry_run=True) == 7
            assert await storage.delete_interactions("ann", before=before, keep_last=5) == 5
            assert len(asked) == 4
            for pipeline in asked:
                command = {"aggregate": "interactions", "pipeline": pipeline, "cursor": {}}
                plan = client[name].command({"explain": command, "verbosity": "executionStats"})
                assert set(found(plan, "totalDocsExamined")) == {0}, pipeline
            client.drop_database(name)


def found(plan: Any, name: str) -> list[Any]:
    """Every value under this name, however deep."""
    if isinstance(plan, list):
        return [value for one in plan for value in found(one, name)]
    if not isinstance(plan, dict):
        return []
    here = [plan[name]] if name in plan else []
    return here + [value for one in plan.values() for value in found(one, name)]
