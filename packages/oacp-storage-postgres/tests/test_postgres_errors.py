"""What is wrong with a server or its address is said in words, at once, and without the password."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from oacp_storage_conformance.servers import PostgresServer
from oacp_storage_core import (
    SchemaVersionError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
    create_storage,
)
from oacp_storage_postgres import PostgreSQLStorage
from postgres_testing import PostgresProxy, at, in_another_loop, query

SECRET = "open sesame/@:?"
QUOTED = "open%20sesame%2F%40%3A%3F"


@pytest.fixture(scope="module")
def guarded() -> Iterator[PostgresServer]:
    """A server that asks one user for a password."""
    with PostgresServer(PostgresServer.find()[0]) as server:
        in_another_loop(query(server.url, f"CREATE ROLE agent LOGIN SUPERUSER PASSWORD '{SECRET}'"))
        hba = server.process.directory / "data" / "pg_hba.conf"
        hba.write_text("host all agent all scram-sha-256\nhost all all all trust\n")
        in_another_loop(query(server.url, "SELECT pg_reload_conf()"))
        yield server


async def refused(storage: PostgreSQLStorage, kind: type[StorageError], words: str) -> None:
    try:
        with pytest.raises(kind, match=words) as caught:
            await storage.open()
        assert "sesame" not in str(caught.value)
        assert "sesame" not in repr(caught.value.__cause__)
        health = await storage.health()
        assert not health.ok
        assert "sesame" not in repr(health)
        assert "sesame" not in repr(storage)
    finally:
        await storage.close()


@pytest.mark.asyncio
async def test_the_right_password_opens(guarded: PostgresServer) -> None:
    for storage in (
        PostgreSQLStorage(at(guarded.url, user="agent", password=QUOTED)),
        PostgreSQLStorage(
            host="127.0.0.1", port=guarded.port, database="postgres", user="agent", password=SECRET
        ),
    ):
        async with storage:
            assert (await storage.health()).ok
            assert "sesame" not in repr(storage)


@pytest.mark.asyncio
async def test_a_wrong_password_is_refused(guarded: PostgresServer) -> None:
    url = at(guarded.url, user="agent", password="sesame")
    await refused(PostgreSQLStorage(url), StorageConnectionError, "refuses the password")


@pytest.mark.asyncio
async def test_a_wrong_database_and_a_wrong_user_are_told_apart(guarded: PostgresServer) -> None:
    await refused(
        PostgreSQLStorage(at(guarded.url, database="nothing")), StorageConnectionError, "no such database"
    )
    await refused(
        PostgreSQLStorage(at(guarded.url, user="nobody", password="sesame")),
        StorageConnectionError,
        "refuses this user",
    )


@pytest.mark.asyncio
async def test_nobody_there_is_said_within_the_connect_timeout() -> None:
    begun = asyncio.get_running_loop().time()
    storage = PostgreSQLStorage("postgresql://u:sesame@127.0.0.1:1/db", timeout=2, connect_timeout=1)
    await refused(storage, StorageConnectionError, r"u:\*\*\*@127.0.0.1:1/db cannot be reached")
    assert asyncio.get_running_loop().time() - begun < 8


@pytest.mark.asyncio
async def test_a_server_that_does_not_answer_is_given_up_after_the_connect_timeout() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    begun = asyncio.get_running_loop().time()
    storage = PostgreSQLStorage(f"postgresql://u:sesame@127.0.0.1:{port}/db", connect_timeout=0.3)
    try:
        with pytest.raises(StorageConnectionError, match="does not answer"):
            await storage.open()
    finally:
        await storage.close()
        silent.close()
    assert asyncio.get_running_loop().time() - begun < 5


@pytest.mark.asyncio
async def test_a_server_without_tls_is_told_from_an_absent_one(database: str) -> None:
    await refused(PostgreSQLStorage(f"{database}?sslmode=require"), StorageConnectionError, "speaks no TLS")
    await refused(PostgreSQLStorage(database, ssl=True), StorageConnectionError, "speaks no TLS")


@pytest.mark.asyncio
async def test_tls_checks_the_certificate(database: str, tmp_path: Path) -> None:
    """The servers at hand may have no TLS of their own, so a proxy speaks it for one."""
    authority, trusted = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with PostgresProxy(database, tls) as proxy:
        strangers = ssl.create_default_context()
        await refused(PostgreSQLStorage(proxy.url, ssl=strangers), StorageConnectionError, "over TLS")
        url = f"{proxy.url}?sslmode=verify-full&sslrootcert={trusted}&namespace=tls"
        async with create_storage(url) as storage:
            await storage.store_interaction("ann", {"n": 1})
        context = ssl.create_default_context(cafile=str(trusted))
        async with PostgreSQLStorage(proxy.url, ssl=context, namespace="tls") as storage:
            assert await storage.get_interactions("ann") == [{"n": 1}]


@pytest.mark.asyncio
async def test_a_store_of_a_newer_release_is_refused_open_or_not(database: str) -> None:
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interaction("ann", {"n": 1})
        await query(database, "UPDATE oacp.meta SET schema_version = 2")
        for call in (
            storage.store_interaction("ann", {"n": 2}),
            storage.store_interaction("ann", {"n": 2}, interaction_id="x"),
            storage.store_agent_state("ann", {}),
            storage.delete_interactions("ann", keep_last=0),
            storage.delete_agent("ann"),
        ):
            with pytest.raises(SchemaVersionError):
                await call
    await refused(PostgreSQLStorage(database), SchemaVersionError, "schema version 2")


@pytest.mark.asyncio
async def test_a_server_that_may_lose_what_it_acknowledged_is_reported(database: str) -> None:
    async with PostgreSQLStorage(database) as storage:
        health = await storage.health()
        assert (health.durability, health.warnings) == ("power-cut", ())
    await query(database, "ALTER SYSTEM SET full_page_writes = off")
    try:
        await reloaded(database, "off")
        async with PostgreSQLStorage(database) as storage:
            health = await storage.health()
            assert health.durability == "crash"
            assert "full_page_writes" in health.warnings[0]
    finally:
        await query(database, "ALTER SYSTEM RESET full_page_writes")
        await reloaded(database, "on")


async def reloaded(database: str, setting: str) -> None:
    """Have the server read its settings again, and wait until new connections see this one of full_page_writes."""
    await query(database, "SELECT pg_reload_conf()")
    async with asyncio.timeout(30):
        while (await query(database, "SHOW full_page_writes"))[0][0] != setting:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PostgreSQLStorage("mysql://x"), "no URL of a PostgreSQL"),
        (lambda: PostgreSQLStorage("postgresql://a/b", host="c"), "not both"),
        (lambda: PostgreSQLStorage(pool_size=0), "pool_size"),
        (lambda: PostgreSQLStorage(max_overflow=-1), "max_overflow"),
        (lambda: PostgreSQLStorage(connect_timeout=0), "connect_timeout"),
        (lambda: PostgreSQLStorage(timeout=541), "at most 540"),
        (lambda: PostgreSQLStorage(read_connection_string="replica"), "read_connection_string"),
        (lambda: PostgreSQLStorage.from_url("postgresql://a/b", connection_string="c"), "leave out"),
        (lambda: PostgreSQLStorage(pool_size="20"), "'pool_size' must be int, not str"),  # type: ignore[arg-type]
        (lambda: PostgreSQLStorage(pgbouncer="no"), "'pgbouncer' must be bool"),  # type: ignore[arg-type]
        (lambda: PostgreSQLStorage(ssl=5), "'ssl' must be bool or str or SSLContext"),  # type: ignore[arg-type]
        (lambda: create_storage("postgres", pool_sise=3), "did you mean 'pool_size'"),
    ],
)
def test_configuration_errors_say_what_is_wrong(make: Callable[[], object], words: str) -> None:
    with pytest.raises(StorageConfigError, match=words):
        make()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3c/ret@localhost/db",
        "postgresql://u:s3c@ret:x@h:y/db",
        "postgresql://:s3c?ret@h:1/db",
        "postgresql://u:s3cret#ss@localhost/db",
        "postgresql://u:123?s3cret@localhost/db",
        "postgresql://u:12@localhost/db?application_name",
        "postgresql://u:s3c[ret@localhost/db",
    ],
)
@pytest.mark.asyncio
async def test_a_piece_of_a_password_is_not_taken_for_something_else_and_shown(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        await PostgreSQLStorage(url, timeout=1, connect_timeout=0.5).open()
    assert isinstance(caught.value, StorageConfigError)
    assert "s3c" not in "".join(traceback.format_exception(caught.value)).replace(url, "")
    assert "s3c" not in str(caught.value)
    assert "s3c" not in repr(caught.value.__cause__)
    assert "ret" not in str(caught.value).replace("secret", "")


@pytest.mark.asyncio
async def test_the_usual_forms_of_a_url_are_taken(guarded: PostgresServer) -> None:
    name, port = "postgres", guarded.port
    login = f"user=agent&password={QUOTED}"
    for url in (
        f"postgresql:///{name}?host=127.0.0.1&port={port}&{login}",
        f"postgresql://127.0.0.1:{port}/{name}?{login}",
        f"postgresql://127.0.0.1:{port}?database={name}&{login}",
        f"PostgreSQL://agent:{QUOTED}@127.0.0.1:{port}/{name}",
    ):
        async with create_storage(url) as storage:
            assert (await storage.health()).ok
    async with create_storage(
        f"postgresql://agent@127.0.0.1:{port}/{name}?ssl=false", password=SECRET
    ) as storage:
        assert (await storage.health()).ok
    wanting_tls = create_storage(f"postgresql://agent:{QUOTED}@127.0.0.1:{port}/{name}?ssl=true")
    with pytest.raises(StorageConnectionError, match="speaks no TLS"):
        await wanting_tls.open()


def test_a_part_of_the_address_that_stands_in_the_url_too_is_refused() -> None:
    for name in ("host", "port", "database", "user", "password"):
        with pytest.raises(StorageConfigError, match="already; give each of them once"):
            create_storage("postgresql://u:p@h:1/db", **{name: 5 if name == "port" else "sesame"})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("pool_sise=3", r"'pool_sise'.*did you mean 'pool_size'.*the options are application_name, coerce"),
        ("ssl_mode=require", r"'ssl_mode'.*did you mean 'sslmode'.*sslmode, sslnegotiation"),
        ("pasword=sesame", r"'pasword'.*did you mean 'password'"),
        (
            "xyz=1",
            r"knows no setting 'xyz', nor is it an option of PostgreSQLStorage or asyncpg; the options",
        ),
    ],
)
@pytest.mark.asyncio
async def test_what_nobody_knows_in_a_url_is_said_with_what_was_meant(
    database: str, setting: str, words: str
) -> None:
    await refused(PostgreSQLStorage(f"{database}?{setting}"), StorageConfigError, words)


def test_without_the_driver_it_is_said_what_to_install() -> None:
    program = """
import asyncio, sys
sys.modules["asyncpg"] = None
from oacp_storage_core import StorageConfigError
from oacp_storage_postgres import PostgreSQLStorage
from oacp_storage_postgres.__main__ import main
try:
    asyncio.run(PostgreSQLStorage().list_agents())
except StorageConfigError as exc:
    print(exc)
sys.exit(main(["schema", "postgresql://u@h/db"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    told = "the driver of PostgreSQL, asyncpg, is not installed: pip install oacp-storage-postgres\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, told, told)
