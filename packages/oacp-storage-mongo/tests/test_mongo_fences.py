"""Imports and deletions that meet: whoever knew an older end of a log looks again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mongo_testing import name_of
from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_core import Interaction, StorageError
from oacp_storage_mongo import MongoStorage, judged
from oacp_storage_mongo.deletions import Deletions


def record(sequence: int) -> Interaction:
    return Interaction("ann", f"id {sequence}", sequence, datetime.now(UTC), {"n": sequence})


@pytest.mark.asyncio
async def test_an_import_while_its_agent_is_deleted_leaves_nothing_behind(
    oacp_mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The import comes between what the deletion reads and what it writes."""
    url, namespace = oacp_mongo_server.url, name_of(request)
    counted = Deletions._counted  # noqa: SLF001 - between its reads and its transaction
    async with MongoStorage(url, namespace=namespace) as one, MongoStorage(url, namespace=namespace) as other:
        await one.store_interaction("ann", {"n": 1})
        imports = iter([record(10)])

        async def meanwhile(self: Deletions, *args: Any) -> Any:
            found = await counted(self, *args)
            for each in imports:
                await other.import_records("ann", interactions=[each])
            return found

        monkeypatch.setattr(Deletions, "_counted", meanwhile)
        assert (await one.delete_agent("ann")).interactions == 2
        assert await one.list_agents() == []
        await one.store_interaction("ann", {"n": "new"})
        assert [each.sequence for each in await whole_log(one, "ann")] == [11]
        assert [damage async for damage in one.verify()] == []


@pytest.mark.asyncio
async def test_of_two_imports_at_once_the_later_one_is_judged_by_the_other(
    oacp_mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """What is imported below the end of a log is refused: no watcher would see it."""
    url, namespace = oacp_mongo_server.url, name_of(request)
    load = judged._load  # noqa: SLF001 - between its reads and its transaction
    async with MongoStorage(url, namespace=namespace) as one, MongoStorage(url, namespace=namespace) as other:
        await one.store_interaction("ann", {"n": 1})
        imports = iter([record(20)])

        async def meanwhile(*args: Any, **options: Any) -> Any:
            loaded = await load(*args, **options)
            for each in imports:
                await other.import_records("ann", interactions=[each])
            return loaded

        monkeypatch.setattr(judged, "_load", meanwhile)
        with pytest.raises(StorageError, match="that place or id is taken"):
            await one.import_records("ann", interactions=[record(10)])
        assert [each.sequence for each in await whole_log(one, "ann")] == [1, 20]
