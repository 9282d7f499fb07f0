"""Roles without rights to the schema, replicas, several hosts, other versions: how PostgreSQL is deployed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers import PostgresServer
from oacp_storage_core import Interaction, StorageConfigError, StorageTimeoutError, create_storage
from oacp_storage_postgres import PostgreSQLStorage, stale_reads
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.prefixes import after_prefix
from postgres_testing import PostgresProxy, at, fresh_database, query

README = (Path(__file__).parent.parent / "README.md").read_text()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oacp_storage_postgres", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def role(database: str) -> Iterator[str]:
    """A role of the name that the README uses, which owns nothing."""
    asyncio.run(query(database, "CREATE ROLE agents LOGIN"))
    yield at(database, user="agents")
    asyncio.run(query(database, "DROP OWNED BY agents; DROP ROLE agents;"))


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_role_with_the_grants_of_the_readme_can_do_everything(
    database: str, role: str, partitioned: bool
) -> None:
    done = command("schema", database)
    assert (done.returncode, done.stdout) == (0, "the tables are there, in the schema of this release\n")
    if partitioned:
        done = command("partition", database)
        assert (done.returncode, done.stdout.count("\n")) == (0, 1)
        assert done.stdout.startswith("the interactions are partitioned by month")
    (grants,) = re.findall(r"```sql\n(GRANT .*?)```", README, re.DOTALL)
    asyncio.run(query(database, grants))
    for change in (
        "UPDATE oacp.meta SET schema_version = 2",
        "INSERT INTO oacp.partitions VALUES ('agents', '-infinity', '-infinity')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(query(role, change))

    async def use() -> None:
        async with PostgreSQLStorage(role, partition_by_date=partitioned) as storage:
            await storage.record_turn("ann", interactions=[{"n": 1}], state={"n": 1}, learning={"k": {}})
            await storage.store_system_state("key", {"n": 1})
            await storage.store_interactions("ann", [{"n": 2}, {"n": 3}])
            watching = storage.watch_interactions("ann", after=2)
            assert (await anext(watching)).sequence == 3
            assert await storage.delete_interactions("ann", keep_last=1) == 2
            assert (
                await storage.delete_interactions(before=(await whole_log(storage, "ann"))[0].timestamp) == 0
            )
            assert (await storage.delete_agent("ann")).states == 1
            assert (await storage.health()).ok
            assert [damage async for damage in storage.verify()] == []
        with pytest.raises(StorageConfigError, match="privilege"):
            await PostgreSQLStorage(role, enable_json_indexing=True).open()
        done = command("index", database)
        assert (done.returncode, done.stdout) == (0, "the index of enable_json_indexing is there\n")
        async with PostgreSQLStorage(role, enable_json_indexing=True) as storage:
            assert await storage.list_agents() == []

    asyncio.run(use())


@pytest.mark.asyncio
async def test_a_role_before_its_owner_is_told_what_is_missing(database: str) -> None:
    await query(database, "CREATE ROLE early LOGIN")
    try:
        with pytest.raises(StorageConfigError, match=r"privilege.*README"):
            await PostgreSQLStorage(at(database, user="early")).open()
    finally:
        await query(database, "DROP ROLE early")


def test_the_commands_say_what_is_wrong(database: str) -> None:
    missing = command("schema", at(database, database="nothing", password="sesame"))
    assert missing.returncode == 1
    assert "no such database" in missing.stderr
    assert "sesame" not in missing.stderr
    assert "Traceback" not in missing.stderr
    assert command("schema").returncode == 2


def test_the_commands_never_show_a_password() -> None:
    for arguments in (
        ["postgresql://owner:sesame@localhost/db"],
        ["schema", "extra", "postgresql://owner:sesame@localhost/db"],
        ["schema", "postgresql://owner:sesame#s@localhost/db"],
        ["schema", "postgresql://owner:1?sesame@localhost/db"],
    ):
        done = command(*arguments)
        assert done.returncode in {1, 2}
        assert done.stderr
        assert "sesame" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_the_printed_schema_is_the_schema(database: str) -> None:
    printed = command("sql")
    assert printed.returncode == 0
    asyncio.run(query(database, printed.stdout))

    async def use() -> None:
        async with PostgreSQLStorage(database) as storage:
            await storage.store_interaction("ann", {"n": 1})
            assert await storage.get_interactions("ann") == [{"n": 1}]

    asyncio.run(use())


@pytest.mark.asyncio
async def test_stale_reads_go_to_the_replica_where_they_are_allowed_and_nowhere_else(
    oacp_postgres_server: PostgresServer, database: str
) -> None:
    """A second database stands in for a replica that is far behind: what comes from it can be told."""
    with fresh_database(oacp_postgres_server.url) as behind:
        async with PostgreSQLStorage(behind) as replica:
            await replica.store_interaction("ann", {"from": "the replica"})
        async with PostgreSQLStorage(database, read_connection_string=behind) as storage:
            await storage.store_interaction("ann", {"from": "the primary"})
            with stale_reads():
                assert await storage.get_interactions("ann") == [{"from": "the replica"}]
                assert (await storage.update_agent_state("ann", lambda data: data or {"n": 1})) is not None
                inside = asyncio.ensure_future(storage.get_interactions("ann"))
            outside = await storage.get_interactions("ann")
            assert outside == [{"from": "the primary"}]
            assert await inside == [{"from": "the replica"}]
            assert await storage.get_agent_state("ann") == {"n": 1}


@pytest.mark.asyncio
async def test_what_writes_and_what_watches_reads_from_the_primary_in_any_block(
    oacp_postgres_server: PostgresServer, database: str
) -> None:
    """A database in which nothing was ever written stands in for a replica that is far behind."""
    with fresh_database(oacp_postgres_server.url) as behind:
        async with PostgreSQLStorage(behind):
            pass
        async with PostgreSQLStorage(database, read_connection_string=behind) as storage:
            turn = [Interaction("ann", "one", 0, datetime(2020, 1, 1, tzinfo=UTC), {})]
            first = await storage.record_turn("ann", interactions=turn)
            await storage.store_interaction("ann", {})
            await query(database, "UPDATE oacp.interactions SET crc = crc + 1 WHERE sequence = 2")
            with stale_reads():
                assert await storage.list_agents() == []
                assert [damage.sequence async for damage in storage.verify()] == [2]
                watching = storage.watch_interactions("ann", after=0)
                async with asyncio.timeout(30):
                    assert (await anext(watching)).id == "one"
                replayed = await storage.record_turn("ann", interactions=turn)
                assert replayed.replayed
                assert replayed.interactions == first.interactions
                assert await storage.delete_interactions(keep_last=0) == 2
                assert await storage.list_agents() == []


def test_a_replica_of_several_hosts_need_not_be_the_primary() -> None:
    hosts = "postgresql://u@a,b/oacp"
    storage = PostgreSQLStorage(hosts, read_connection_string=hosts)
    assert storage._settings["target_session_attrs"] == "primary"  # noqa: SLF001 - what the driver is given
    replica = storage._replica_settings  # noqa: SLF001
    assert replica is not None
    assert "target_session_attrs" not in replica


@pytest.mark.asyncio
async def test_a_replica_that_is_away_is_done_without(database: str) -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/postgres"
    async with PostgreSQLStorage(database, read_connection_string=nowhere) as storage:
        await storage.store_interaction("ann", {"n": 1})
        with stale_reads():
            assert await storage.get_interactions("ann") == [{"n": 1}]


@pytest.mark.asyncio
async def test_a_replica_that_hangs_is_done_without_for_a_while(database: str, proxy: PostgresProxy) -> None:
    async with PostgreSQLStorage(database, read_connection_string=proxy.url, timeout=20) as storage:
        await storage.store_interaction("ann", {"n": 1})
        asked: list[bytes] = []

        def note(data: bytes) -> bool:
            asked.append(data)
            return True

        proxy.on_request = note
        with stale_reads():
            assert await storage.get_interactions("ann") == [{"n": 1}]
            assert asked
            proxy.frozen = True  # in the midst: the connection is there, and a query on it is never answered
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert await storage.get_interactions("ann") == [{"n": 1}]
            assert loop.time() - begun < 10
            proxy.frozen = False
            asked.clear()
            assert await storage.get_interactions("ann") == [{"n": 1}]
            assert await storage.list_agents() == ["ann"]
            assert not asked


@pytest.mark.asyncio
async def test_a_replica_is_asked_again_after_a_while(
    database: str, monkeypatch: pytest.MonkeyPatch, oacp_postgres_server: PostgresServer
) -> None:
    monkeypatch.setattr("oacp_storage_postgres.replica._SKIPPED_SECONDS", 0.0)
    with fresh_database(oacp_postgres_server.url) as behind, PostgresProxy(behind) as proxy:
        async with PostgreSQLStorage(behind) as replica:
            await replica.store_interaction("ann", {"from": "the replica"})
        async with PostgreSQLStorage(database, read_connection_string=proxy.url) as storage:
            with stale_reads():
                proxy.on_request = lambda _data: False
                assert await storage.get_interactions("ann") == []
                proxy.on_request = lambda _data: True
                assert await storage.get_interactions("ann") == [{"from": "the replica"}]


@pytest.mark.asyncio
async def test_a_server_that_takes_no_writes_can_be_read(database: str) -> None:
    """As a standby can; one that was made so by its settings answers the same."""
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interaction("ann", {"n": 1})
    await query(
        database, f"ALTER DATABASE {database.rpartition('/')[2]} SET default_transaction_read_only = on"
    )
    async with PostgreSQLStorage(database, timeout=1) as storage:
        assert await storage.get_interactions("ann") == [{"n": 1}]
        with pytest.raises(StorageTimeoutError, match="read-only"):
            await storage.store_interaction("ann", {"n": 2})


@pytest.mark.asyncio
async def test_names_with_a_prefix_are_found_without_looking_at_those_after_them(database: str) -> None:
    names = [
        "a",
        "a\U0010ffff",
        "a\U0010ffff\U0010ffff",
        "b",
        "\ud7ff",
        "\ud7ffx",
        "\ue000",
        "\U0010ffff",
        "\U0010ffffx",
    ]
    async with PostgreSQLStorage(database) as storage:
        for name in names:
            await storage.store_interaction(name, {})
            await storage.store_learning_data("ann", name, {})
            await storage.store_system_state(name, {})
        await storage.delete_agent("ann")
        for name in names:
            await storage.store_learning_data("a", name, {})
        for prefix in ("", "a", "a\U0010ffff", "\ud7ff", "\U0010ffff", "\U0010ffff\U0010ffff", "c"):
            expected = sorted(name for name in names if name.startswith(prefix))
            assert await storage.list_agents(prefix=prefix) == expected, prefix
            assert [one.key for one in await storage.list_learning_data("a", prefix=prefix)] == expected, (
                prefix
            )
            assert [one.key for one in await storage.list_system_state(prefix=prefix)] == expected, prefix
    await query(
        database,
        "INSERT INTO oacp.agents SELECT 'm' || n, 'default', 1, 0, 1 FROM generate_series(1, 20000) n",
    )
    await query(database, "VACUUM ANALYZE oacp.agents")
    rows = await query(
        database,
        f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.SCAN_AGENTS}",
        "default",
        "c",
        after_prefix("c"),
        "",
        100,
    )
    assert "Filter" not in rows[0][0]
    assert max(int(n) for n in re.findall(r'"Actual Rows": (\d+)', rows[0][0])) == 0


@pytest.mark.asyncio
async def test_of_several_hosts_the_one_that_is_there_is_taken(
    oacp_postgres_server: PostgresServer, database: str
) -> None:
    port, name = oacp_postgres_server.port, database.rpartition("/")[2]
    url = f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}/{name}"
    async with create_storage(f"{url}?pool_size=2&namespace=hosts") as storage:
        await storage.store_interaction("ann", {"n": 1})
        assert await storage.get_interactions("ann") == [{"n": 1}]


@pytest.mark.asyncio
async def test_the_application_shows_by_its_name(database: str) -> None:
    async with PostgreSQLStorage(database, application_name="a team of agents") as storage:
        await storage.store_interaction("ann", {})
        names = await query(database, "SELECT DISTINCT application_name FROM pg_stat_activity")
        assert ("a team of agents",) in names


@pytest.mark.asyncio
async def test_every_version_at_hand_does_the_same(oacp_postgres_servers: list[PostgresServer]) -> None:
    print([await query(server.url, "SHOW server_version") for server in oacp_postgres_servers])
    for server in oacp_postgres_servers:
        with fresh_database(server.url) as url:
            async with PostgreSQLStorage(url, partition_by_date=True, enable_json_indexing=True) as storage:
                await asyncio.gather(
                    *(storage.store_interaction(f"agent {n % 3}", {"n": n, "text": "\0"}) for n in range(60))
                )
                given = await storage.store_interaction("agent 0", {"type": "x"}, interaction_id="given")
                assert (
                    await storage.store_interaction("agent 0", {"type": "x"}, interaction_id="given") == given
                )
                assert [
                    one.id async for one in storage.iter_interactions("agent 0", where={"type": "x"})
                ] == [given]
                await storage.record_turn("agent 1", interactions=[{}], state={"n": 1}, expected_version=0)
                assert await storage.delete_interactions(keep_last=2) == 56
                assert (await storage.delete_agent("agent 1")).interactions == 2
                assert [damage async for damage in storage.verify()] == []
                assert (await query(url, "SELECT sum(interactions) FROM oacp.interactions_by_type"))[0][
                    0
                ] == 4


@pytest.mark.asyncio
async def test_agent_id_leads_every_key_of_an_agents_tables(database: str) -> None:
    """So that they can be distributed by it, as the README shows."""
    async with PostgreSQLStorage(database) as storage:
        await storage.store_interaction("ann", {})
    rows = await query(
        database,
        "SELECT i.indrelid::regclass::text AS table_name, a.attname FROM pg_index i"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " WHERE i.indisunique AND i.indrelid::regclass::text = ANY ($1::text[])",
        ["oacp.agents", "oacp.interactions", "oacp.documents", "oacp.erasures"],
    )
    assert {row["table_name"] for row in rows} == {
        "oacp.agents", "oacp.interactions", "oacp.documents", "oacp.erasures",
    }  # fmt: skip
    assert {row["attname"] for row in rows} == {"agent_id"}
