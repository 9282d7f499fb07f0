"""Several processes at one store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys

import asyncpg
import pytest

from oacp_storage_conformance import soak
from oacp_storage_conformance.servers import once
from oacp_storage_postgres import PostgreSQLStorage
from postgres_testing import PostgresProxy

INCREMENTS = """
import asyncio
from oacp_storage_postgres import PostgreSQLStorage

async def main():
    async with PostgreSQLStorage(URL) as storage:
        for _ in range(200):
            await storage.update_system_state("counter", lambda data: {"n": (data or {"n": 0})["n"] + 1})

asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_four_processes_of_200_increments_end_at_800(database: str) -> None:
    program = f"URL = {database!r}\n{INCREMENTS}"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    async with PostgreSQLStorage(database) as storage:
        document = await storage.get_system_state_document("counter")
        assert document is not None
        assert (document.data, document.version) == ({"n": 800}, 800)


@pytest.mark.asyncio
async def test_four_writers_of_which_two_are_killed(database: str) -> None:
    """On partitions and with the index, which the conformance suite does without."""
    options = "partition_by_date=true&enable_json_indexing=true"
    report = await soak(f"{database}?{options}", processes=4, kill=2, seconds=4)
    print(report)
    assert report.killed == 2
    assert report.acknowledged > 0


CHANNEL = f"oacp_{hashlib.sha256(b'default').hexdigest()[:24]}"


async def listen(database: str, heard: asyncio.Queue[str]) -> asyncpg.Connection:
    """A connection that hears what a storage of the default namespace announces."""
    connection = await asyncpg.connect(database)
    await connection.add_listener(CHANNEL, lambda *said: heard.put_nowait(said[3]))
    return connection


@pytest.mark.asyncio
async def test_what_was_written_just_before_closing_is_announced(database: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = await listen(database, heard)
    try:
        for agents in (["ann"], ["ann", "bob"]):
            async with PostgreSQLStorage(database) as storage:
                for agent in agents:
                    await storage.store_interaction(agent, {})
                    await asyncio.sleep(0)
            said = [json.loads(await asyncio.wait_for(heard.get(), 30))]
            while {agent for agents in said for agent in agents} != set(agents):
                said.append(json.loads(await asyncio.wait_for(heard.get(), 30)))
    finally:
        await listening.close()


@pytest.mark.asyncio
async def test_what_could_not_be_announced_is_announced_when_the_server_is_back(
    database: str, proxy: PostgresProxy
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = await listen(database, heard)
    try:
        async with PostgreSQLStorage(proxy.url) as storage:
            proxy.on_request = once(lambda data: CHANNEL.encode() in data)
            await storage.store_interaction("ann", {})
            assert json.loads(await asyncio.wait_for(heard.get(), 30)) == ["ann"]
    finally:
        await listening.close()
