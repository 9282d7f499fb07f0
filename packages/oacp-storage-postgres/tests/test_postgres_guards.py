"""What each write makes sure of by itself, whatever the defaults of the server and other releases do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from oacp_storage_conformance.servers import PostgresServer
from oacp_storage_core import SchemaVersionError, StorageConfigError
from oacp_storage_engine import NotApplied
from oacp_storage_postgres import PostgreSQLStorage, schema
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.errors import executing
from postgres_testing import at, in_another_loop, query

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"

Write = Callable[[PostgreSQLStorage], Any]
WRITES: dict[str, Write] = {
    "append": lambda storage: storage.store_interaction("ann", {"n": 2}),
    "several": lambda storage: storage.store_interactions("ann", [{"n": 2}, {"n": 3}]),
    "state": lambda storage: storage.store_agent_state("ann", {"n": 2}),
    "trim": lambda storage: storage.delete_interactions("ann", keep_last=0),
    "erase": lambda storage: storage.delete_agent("ann"),
}


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.asyncio
async def test_an_upgrade_waits_for_the_writes_that_are_under_way(
    database: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write waits for the row of its agent and decided nothing yet; the upgrade may not overtake it."""
    async with (
        PostgreSQLStorage(database) as storage,
        connected(database) as holder,
        connected(database) as upgrader,
    ):
        await storage.store_interaction("ann", {"n": 1})
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM oacp.agents FOR UPDATE")
        writing = asyncio.ensure_future(WRITES[name](storage))
        while not await holder.fetchval(WAITING):
            await asyncio.sleep(0.01)
        monkeypatch.setattr(schema, "SCHEMA_VERSION", 2)
        monkeypatch.setitem(schema._STEPS, 2, ("upgrade",))  # noqa: SLF001 - the step of a release to come
        monkeypatch.setattr(schema, "statements_of", lambda _name: "UPDATE oacp.meta SET schema_version = 2")
        upgrading = asyncio.ensure_future(schema.prepare(upgrader, json_indexing=False, partition=False))
        while await holder.fetchval(WAITING) < 2:
            assert not upgrading.done(), "it went past the write"
            await asyncio.sleep(0.01)
        await transaction.rollback()
        await writing
        await upgrading
        with pytest.raises(SchemaVersionError):
            await WRITES[name](storage)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.asyncio
async def test_a_write_that_waited_for_an_upgrade_is_refused(database: str, name: str) -> None:
    async with PostgreSQLStorage(database) as storage, connected(database) as upgrader:
        await storage.store_interaction("ann", {"n": 1})
        async with upgrader.transaction():
            await upgrader.execute(sql.LOCK_UPGRADES)
            await upgrader.execute("UPDATE oacp.meta SET schema_version = 2")
            writing = asyncio.ensure_future(WRITES[name](storage))
            while not await upgrader.fetchval(WAITING):
                assert not writing.done(), "it did not wait"
                await asyncio.sleep(0.01)
        with pytest.raises(SchemaVersionError):
            await writing


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.asyncio
async def test_writes_are_durable_and_let_go_of_their_locks_whatever_the_defaults(
    database: str, name: str
) -> None:
    """Each is sent in a transaction, which is left open here to look at what holds in it."""
    await query(database, f"ALTER DATABASE {database.rpartition('/')[2]} SET synchronous_commit = off")
    seen: list[tuple[str, str]] = []
    async with PostgreSQLStorage(database, pgbouncer=True) as storage:
        await storage.store_interaction("ann", {"n": 1})
        fetchval = asyncpg.Connection.fetchval

        async def and_look(connection: Any, statement: str, *arguments: Any, **options: Any) -> Any:
            found = await fetchval(connection, statement, *arguments, **options)
            if "oacp." in statement:
                look = "SELECT current_setting('synchronous_commit'), current_setting($1)"
                seen.append(tuple(await connection.fetchrow(look, "idle_in_transaction_session_timeout")))
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncpg.Connection, "fetchval", and_look)
            await WRITES[name](storage)
        assert set(seen) == {("on", "5s")}
        assert (await query(database, "SHOW synchronous_commit"))[0][0] == "off"


@pytest.mark.asyncio
async def test_synchronous_commit_stays_what_it_is_where_it_waits_for_more(database: str) -> None:
    async with PostgreSQLStorage(database), connected(database) as connection:
        await connection.execute("SET synchronous_commit = remote_apply")
        async with connection.transaction():
            await connection.execute("SELECT oacp.begin_write()")
            assert await connection.fetchval("SHOW synchronous_commit") == "remote_apply"


def test_a_transaction_that_stood_still_was_not_applied() -> None:
    error = executing(asyncpg.IdleInTransactionSessionTimeoutError("idle"), maybe_applied=True)
    assert isinstance(error, NotApplied)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.asyncio
async def test_an_encoding_that_cannot_hold_everything_is_refused(
    oacp_postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"oacp_test_{encoding.lower()}"
    url = oacp_postgres_server.url
    in_another_loop(
        query(
            url,
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
        )
    )
    try:
        with pytest.raises(StorageConfigError, match=f"{encoding}.*ENCODING 'UTF8'"):
            await PostgreSQLStorage(at(url, database=name)).open()
    finally:
        in_another_loop(query(url, f"DROP DATABASE {name} WITH (FORCE)"))
