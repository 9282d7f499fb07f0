"""Loops that end and processes that fork with the storage open: nothing is left unclosed, and nothing is shared."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mongo_testing import name_of
from oacp_storage_conformance.servers import MongoServer

PROGRAMS = {
    "a loop that ends": """
storage = MongoStorage(URL)
for n in range(3):
    asyncio.run(storage.store_interaction("ann", {"n": n}))
print(len(asyncio.run(storage.get_interactions("ann"))))
asyncio.run(storage.close())
""",
    "a fork": """
storage = MongoStorage(URL)
loop = asyncio.new_event_loop()
loop.run_until_complete(storage.store_interaction("ann", {"n": 1}))
warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that has threads, from Python 3.12 on
if not (child := os.fork()):
    asyncio.run(storage.store_interaction("ann", {"n": 2}))
    asyncio.run(storage.close())
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
loop.run_until_complete(storage.store_interaction("ann", {"n": 3}))
print(len(loop.run_until_complete(storage.get_interactions("ann"))))
loop.run_until_complete(storage.close())
loop.close()
""",
    "a watcher": """
async def main():
    async with MongoStorage(URL) as storage:
        records = storage.watch_interactions("ann", after=0)
        waiting = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0.2)
        await storage.store_interaction("ann", {})
        await waiting
        await storage.store_interactions("ann", [{}, {}])
        print(len(await storage.get_interactions("ann")))
asyncio.run(main())
""",
}


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_nothing_is_left_unclosed(
    oacp_mongo_server: MongoServer, program: str, driver: str, request: pytest.FixtureRequest
) -> None:
    head = "import asyncio, gc, os, warnings\nfrom oacp_storage_mongo import MongoStorage\n"
    url = f"URL = {oacp_mongo_server.url!r}\n"
    given = f"(URL, namespace={name_of(request)!r}, driver={driver!r})"
    text = head + url + program.replace("(URL)", given) + "\ngc.collect()\n"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr
    assert "ResourceWarning" not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
