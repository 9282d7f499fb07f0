"""Behind the real PgBouncer in transaction mode, with ``pgbouncer=True``, and the error without it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers.process import ServerProcess, free_port
from oacp_storage_core import StorageConfigError, VersionConflictError
from oacp_storage_postgres import PostgreSQLStorage
from postgres_testing import at

SERVERS = 3  # connections that PgBouncer has to the server: fewer than it has clients


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    """The URL of the same database through PgBouncer."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no pgbouncer on the PATH, and there is no wheel with one: apt install pgbouncer")
    target = urlsplit(database)
    process = ServerProcess("pgbouncer", unprivileged=True)
    process.directory.chmod(0o755)
    port = free_port()
    settings = process.directory / "pgbouncer.ini"
    settings.write_text(
        f"""
[databases]
* = user={target.username} host={target.hostname} port={target.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = 200
"""
    )
    url = at(database, host="127.0.0.1", port=port)
    try:
        process.start([program, str(settings)], lambda: _listens(port))
        yield url
    finally:
        process.stop()
        process.remove()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.asyncio
async def test_everything_works_over_fewer_server_connections_than_callers(pooled: str) -> None:
    async with (
        PostgreSQLStorage(pooled, pgbouncer=True) as storage,
        PostgreSQLStorage(pooled, pgbouncer=True) as other,
    ):

        async def work(who: int) -> None:
            agent = f"agent {who % 4}"
            for n in range(10):
                backend = storage if n % 2 else other
                await backend.store_interaction(agent, {"who": who, "n": n})
                await backend.store_interaction(agent, {"who": who, "n": n}, interaction_id=f"{who}-{n}")
                await backend.update_agent_state("counter", lambda data: {"n": (data or {"n": 0})["n"] + 1})
                await backend.get_interactions(agent, 5)

        await asyncio.gather(*(work(who) for who in range(12)))
        assert await storage.get_agent_state("counter") == {"n": 120}
        for n in range(4):
            log = await whole_log(storage, f"agent {n}")
            assert [one.sequence for one in log] == list(range(1, 61))
        with pytest.raises(VersionConflictError):
            await storage.store_agent_state("counter", {}, expected_version=1)
        await storage.record_turn("ann", interactions=[{"n": 1}], state={}, learning={"k": {}})
        await storage.store_system_state("key", {"n": 1})
        assert await storage.delete_interactions("agent 0", keep_last=5) == 55
        assert (await storage.delete_agent("agent 0")).interactions == 5
        assert [damage async for damage in storage.verify()] == []
        assert (await storage.health()).ok


@pytest.mark.asyncio
async def test_watching_polls(pooled: str) -> None:
    async with (
        PostgreSQLStorage(pooled, pgbouncer=True) as storage,
        PostgreSQLStorage(pooled, pgbouncer=True) as other,
    ):
        records = storage.watch_interactions("ann", after=0)
        for n in range(1, 4):
            await other.store_interaction("ann", {"n": n})
            async with asyncio.timeout(
                4
            ):  # less than the five seconds after which a watcher looks in any case
                assert (await anext(records)).sequence == n


@pytest.mark.asyncio
async def test_without_the_option_the_error_says_to_set_it(pooled: str) -> None:
    with pytest.raises(StorageConfigError, match="pgbouncer=True"):
        await PostgreSQLStorage(pooled).open()


@pytest.mark.asyncio
async def test_the_option_does_no_harm_without_a_pooler(database: str) -> None:
    async with PostgreSQLStorage(database, pgbouncer=True) as storage:
        await asyncio.gather(*(storage.store_interaction("ann", {"n": n}) for n in range(50)))
        assert await storage.count_interactions("ann") == 50
