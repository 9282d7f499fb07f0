"""The condition of the server: its version, and how durable an acknowledged write is."""

from __future__ import annotations

from typing import Any

from oacp_storage_core import Durability, StorageConfigError
from oacp_storage_engine import Info
from oacp_storage_mongo import layout
from oacp_storage_mongo.errors import DRIVER_ERRORS, reading
from oacp_storage_mongo.store import Store

_OLDEST = (5, 0)  # reads of one moment outside of transactions, keys with dots and dollars

_REPLICA_SET = (
    "MongoDB runs here without a replica set, and so without transactions and change streams: start mongod with "
    '--replSet rs0, and once run mongosh --eval "rs.initiate()" (a set of one member is enough)'
)


async def check_server(store: Store) -> str:
    """The version of the server. Raises ``StorageConfigError`` where it cannot do what is needed."""
    admin = store.driver.client.admin
    try:
        hello: dict[str, Any] = await admin.command("hello")
        build: dict[str, Any] = await admin.command("buildInfo")
    except DRIVER_ERRORS as exc:
        raise reading(exc) from exc
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise StorageConfigError(_REPLICA_SET)
    version = str(build.get("version", "?"))
    if tuple(build.get("versionArray", _OLDEST))[:2] < _OLDEST:
        raise StorageConfigError(f"MongoDB {version} is too old: it takes 5.0 or later")
    return version


async def condition(store: Store) -> Info:
    """The condition now: a round trip or two."""
    version = await check_server(store)
    mark = await store.one_of(store.meta, [{"$match": {"_id": layout.MARK}}]) or {}
    durability: Durability = "power-cut"  # each write waits for the journals of a majority
    warnings: list[str] = []
    engine = await _engine(store)
    if engine is None:
        durability = "unknown"
        warnings.append(
            "the server does not tell its storage engine ($collStats is forbidden): whether acknowledged writes "
            "survive a power cut is unknown"
        )
    elif engine != "wiredTiger":
        durability = "none"
        warnings.append(
            f"the storage engine of the server ({engine}) keeps no journal: acknowledged writes are lost when it stops"
        )
    return Info(f"MongoDB {version}", mark.get("version"), durability, tuple(warnings))


async def _engine(store: Store) -> str | None:
    """The name of the storage engine; a user with the role readWrite may ask for it in this way."""
    try:
        cursor = await store.driver.aggregate(
            store.meta, [{"$collStats": {"storageStats": {}}}], batch_size=1
        )
        found = [one async for one in cursor]
    except DRIVER_ERRORS as exc:
        reading(exc)
        return None
    statistics = found[0].get("storageStats", {}) if found else {}
    return next((name for name in ("wiredTiger", "inMemory") if name in statistics), "unknown")
