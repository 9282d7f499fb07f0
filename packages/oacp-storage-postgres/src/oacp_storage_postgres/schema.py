"""The schema: created or upgraded once, however many processes open at the same time; partitions and the index."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from importlib.resources import files
from typing import Any

from oacp_storage_core import StorageConfigError, StorageError
from oacp_storage_engine import pending_upgrades
from oacp_storage_postgres import statements as sql

SCHEMA_VERSION = 1

_STEPS: dict[int, tuple[str, ...]] = {
    1: (
        "tables.sql",
        "write_group.sql",
        "commit_group.sql",
        "deletions.sql",
        "partitions.sql",
        "views.sql",
    )
}
"""The files that lead to each version from the one before; version 0 is an empty database."""


def statements_of(name: str) -> str:
    """The text of one of the files in ``sql/``."""
    return (files("oacp_storage_postgres") / "sql" / name).read_text(encoding="utf-8")


def whole_schema() -> str:
    """The statements that make the present schema in an empty database."""
    return "\n".join(statements_of(name) for version in sorted(_STEPS) for name in _STEPS[version])


async def prepare(connection: Any, *, json_indexing: bool, partition: bool) -> None:
    """Bring the database to this release's schema and options.

    A role without the right to do so can work once an owner has: nothing is attempted that is done already.
    """
    _check_encoding(connection.get_settings().server_encoding)
    found = await _version(connection)
    if pending_upgrades("the database", found, SCHEMA_VERSION, _STEPS):
        async with _together(connection):
            await connection.execute(sql.LOCK_SCHEMA)
            await connection.execute(sql.LOCK_UPGRADES)
            found = await _version(connection)
            for _, names in pending_upgrades("the database", found, SCHEMA_VERSION, _STEPS):
                for name in names:
                    await connection.execute(statements_of(name))
    if partition and not await connection.fetchval(sql.IS_PARTITIONED):
        await _refuse_if_filled(
            connection, "partition_by_date=True, but the store", "not partitioned", "partition"
        )
        await make_partitioned(connection)
    if json_indexing and not await connection.fetchval(sql.PROJECTION_INDEX_IS_VALID):
        await _refuse_if_filled(
            connection, "enable_json_indexing=True, but the store", "has no index", "index"
        )
        async with _together(connection):
            await connection.execute(sql.LOCK_SCHEMA)
            await connection.execute(sql.CREATE_PROJECTION_INDEX)


async def _refuse_if_filled(connection: Any, what: str, lacks: str, command: str) -> None:
    """What would keep writers waiting for long is not done by the way."""
    if await connection.fetchval(sql.IS_FILLED):
        raise StorageConfigError(
            f"{what} is filled and {lacks}: run `python -m oacp_storage_postgres {command} URL` once, as its owner"
        )


def _check_encoding(encoding: str) -> None:
    if encoding != "UTF8":
        raise StorageConfigError(
            f"the encoding of the database is {encoding}, which does not hold every name and payload: create one with "
            "CREATE DATABASE oacp ENCODING 'UTF8' TEMPLATE template0"
        )


async def make_partitioned(connection: Any) -> None:
    """Turn the interactions table into one partitioned by month; what it holds is the first partition."""
    async with _together(connection):
        await connection.execute(sql.LOCK_SCHEMA)
        if not await connection.fetchval(sql.IS_PARTITIONED):
            await connection.execute(statements_of("make_partitioned.sql"))
            await connection.execute(statements_of("views.sql"))  # replaced, not dropped: their grants stay
            await connection.execute(statements_of("first_partition.sql"))
        await connection.execute(sql.CREATE_PARTITIONS)


async def make_projection_index(connection: Any) -> None:
    """Create the index that ``where=`` uses, if it is missing; in a partitioned store writers wait for it.

    One of which the making was interrupted is made anew. Raises ``StorageError`` while somebody else makes it.
    """
    if await connection.fetchval(sql.PROJECTION_INDEX_IS_VALID):
        return
    if await connection.fetchval(sql.IS_PARTITIONED):
        async with _together(connection):
            await connection.execute(sql.LOCK_SCHEMA)
            await connection.execute(sql.CREATE_PROJECTION_INDEX)
        return
    if not await connection.fetchval(sql.TRY_LOCK_INDEX):  # kept until the connection is closed
        raise StorageError("somebody else is making the index: wait until that is done")
    if await connection.fetchval(sql.PROJECTION_INDEX_IS_VALID) is False:
        await connection.execute(sql.DROP_PROJECTION_INDEX)
    await connection.execute(sql.CREATE_PROJECTION_INDEX_BESIDE_WRITERS)


def _together(connection: Any) -> AbstractAsyncContextManager[Any]:
    """A transaction for what stands in the block; behind a pooler it is in one already."""
    if connection.is_in_transaction():
        return nullcontext()
    transaction: AbstractAsyncContextManager[Any] = connection.transaction()
    return transaction


async def _version(connection: Any) -> int:
    if not await connection.fetchval(sql.SCHEMA_EXISTS):
        return 0
    version: int = await connection.fetchval(sql.SCHEMA_VERSION)
    return version
