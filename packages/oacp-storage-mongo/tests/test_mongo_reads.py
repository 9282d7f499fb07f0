"""Reads that are given up, stored strings that are damaged, locks that others hold, and clients that end."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from mongo_testing import MongoProxy, name_of, sockets_left_by_pymongo
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_core import CorruptDataError
from oacp_storage_mongo import MongoStorage, judged
from oacp_storage_mongo.driver import MotorDriver, PyMongoDriver, make_driver
from oacp_storage_mongo.dropping import drop_client

DRIVERS = ("motor", "pymongo")
pytestmark = sockets_left_by_pymongo


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_later_tests() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_cancelled_reads_are_not_sent(
    oacp_mongo_server: MongoServer,
    driver: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with MongoStorage(
        oacp_mongo_server.url, namespace=name_of(request), driver=driver, pool_size=1
    ) as storage:
        await storage.store_interactions("ann", [{"n": n} for n in range(100)])
        sent = 0
        kind = MotorDriver if driver == "motor" else PyMongoDriver
        aggregate = kind.aggregate

        async def counting(*args: Any, **options: Any) -> Any:
            nonlocal sent
            sent += 1
            return await aggregate(*args, **options)

        monkeypatch.setattr(kind, "aggregate", counting)
        reads = [asyncio.ensure_future(storage.get_interactions("ann")) for _ in range(50)]
        while not sent:
            await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        assert await storage.get_interactions("ann", limit=1) == [{"n": 99}]
        assert sent == 2


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_string_no_longer_utf_8_is_damage(
    oacp_mongo_server: MongoServer, driver: Any, request: pytest.FixtureRequest
) -> None:
    namespace = name_of(request)
    async with MongoStorage(oacp_mongo_server.url, namespace=namespace, driver=driver) as storage:
        for n in (1, 2, 3):
            await storage.store_interaction("ann", {"n": n}, interaction_id=f"name {n}")
        raw = CodecOptions(document_class=RawBSONDocument, unicode_decode_error_handler="replace")
        with MongoClient[Any](oacp_mongo_server.url) as client:
            interactions = client.oacp.get_collection("interactions", codec_options=raw)
            found = interactions.find_one({"agent_id": "ann", "namespace": namespace, "sequence": 2})
            assert found is not None
            interactions.delete_one({"_id": found["_id"]})
            interactions.insert_one(RawBSONDocument(found.raw.replace(b"name 2", b"name \xff"), raw))
        with pytest.raises(CorruptDataError) as caught:
            await storage.get_interactions("ann")
        assert (caught.value.agent_id, caught.value.sequence) == ("ann", 2)
        assert [(damage.agent_id, damage.sequence) async for damage in storage.verify()] == [("ann", 2)]
        assert await storage.get_interactions("ann", limit=1) == [{"n": 3}]


@pytest.mark.asyncio
async def test_a_damaged_name_of_a_document(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    namespace = name_of(request)
    async with MongoStorage(oacp_mongo_server.url, namespace=namespace) as storage:
        await storage.store_learning_data("ann", "name 1", {"n": 1})
        raw = CodecOptions(document_class=RawBSONDocument, unicode_decode_error_handler="replace")
        with MongoClient[Any](oacp_mongo_server.url) as client:
            documents = client.oacp.get_collection("documents", codec_options=raw)
            found = documents.find_one({"agent_id": "ann", "namespace": namespace})
            assert found is not None
            documents.delete_one({"_id": found["_id"]})
            documents.insert_one(RawBSONDocument(found.raw.replace(b"name 1", b"name \xff"), raw))
        with pytest.raises(CorruptDataError, match="damaged"):
            await storage.get_learning_data("ann", "name 1")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_lock_that_others_hold_is_waited_for(
    oacp_mongo_server: MongoServer,
    driver: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when an index is built: the server says that the transaction may be tried again."""
    kind = judged._Writing  # noqa: SLF001 - where statements of a transaction are sent
    write = kind.write
    locked = iter([True])

    async def waiting(*args: Any) -> None:
        for _ in locked:
            details = {"codeName": "LockTimeout", "errorLabels": ["TransientTransactionError"]}
            raise OperationFailure("unable to acquire a lock", 24, details)
        await write(*args)

    monkeypatch.setattr(kind, "write", waiting)
    async with MongoStorage(oacp_mongo_server.url, namespace=name_of(request), driver=driver) as storage:
        await storage.store_interactions("ann", [{"n": 1}, {"n": 2}])
        assert await storage.get_interactions("ann") == [{"n": 1}, {"n": 2}]
        assert next(locked, None) is None


@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.asyncio
async def test_closing_does_not_look_for_a_server_that_is_gone(
    oacp_mongo_server: MongoServer, name: Any
) -> None:
    if not oacp_mongo_server.controllable:
        pytest.skip("needs a server of our own, whose port is known")
    with MongoProxy(oacp_mongo_server.ports[0]) as proxy:
        driver = make_driver(name, proxy.url, "oacp", {"serverSelectionTimeoutMS": 20_000})
        await driver.client.admin.command("ping")  # which leaves a session
        assert driver.client.nodes
    async with asyncio.timeout(10):
        while driver.client.nodes:
            await asyncio.sleep(0.01)
        await driver.close()


def test_a_client_that_is_made_differently_is_dropped_as_far_as_it_is_known() -> None:
    client = SimpleNamespace()
    drop_client(client)
    assert client._closed  # noqa: SLF001 - what PyMongo calls it
