"""The schema: made at the first opening, recognised at later ones."""

from __future__ import annotations

from typing import Any

from pymongo import errors as driver
from pymongo.read_concern import ReadConcern

from oacp_storage_core import StorageConfigError
from oacp_storage_engine import pending_upgrades
from oacp_storage_mongo import layout
from oacp_storage_mongo.errors import DRIVER_ERRORS, code_of, writing
from oacp_storage_mongo.store import DURABLE, Store

_EXISTS = 48


async def prepare(store: Store) -> None:
    """Make what is missing, and the mark last. Any number of processes may do so at once.

    A database that carries the mark is only read, so a user who may not create anything can open it.
    """
    try:
        mark = await _mark(store)
        if mark is None:
            await _create(store)
            mark = await _mark(store)
    except DRIVER_ERRORS as exc:
        raise writing(exc) from exc
    found = int((mark or {}).get("version", 0))
    pending_upgrades(
        f"the database {store.driver.database.name!r}", found, layout.SCHEMA_VERSION, {}
    )  # refuses every other version


async def _mark(store: Store) -> dict[str, Any] | None:
    meta = store.meta.with_options(read_concern=ReadConcern("majority"))
    found: dict[str, Any] | None = await meta.find_one({"_id": layout.MARK})
    return found


async def _create(store: Store) -> None:
    database = store.driver.database
    listed = await database.command({"listCollections": 1})
    present = {one["name"]: one for one in listed["cursor"]["firstBatch"]}
    for name in layout.WRITTEN:
        options = present.get(name, {}).get("options", {})
        if name in present and "schema" not in options.get("validator", {}):
            raise StorageConfigError(
                f"the database {database.name!r} has a collection {name!r} that is not oacp-storage's: name a database "
                "of its own, in the URL or with database="
            )
    for name in layout.WRITTEN:
        if name not in present:
            try:
                await database.create_collection(
                    name, validator=layout.validator(layout.SCHEMA_VERSION), write_concern=DURABLE
                )
            except driver.OperationFailure as exc:
                if code_of(exc) != _EXISTS:  # another process was faster
                    raise
            except driver.CollectionInvalid:
                pass
    for name, indexes in layout.INDEXES.items():
        await database.command({"createIndexes": name, "indexes": indexes})
    await store.meta.with_options(write_concern=DURABLE).update_one(
        {"_id": layout.MARK}, {"$setOnInsert": {"version": layout.SCHEMA_VERSION}}, upsert=True
    )
