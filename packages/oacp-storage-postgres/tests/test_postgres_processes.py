"""Several processes at one store."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from oacp_storage_conformance import soak
from oacp_storage_postgres import PostgreSQLStorage

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
