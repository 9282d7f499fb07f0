"""However a program ends, it ends: no hang, no warning, no word from asyncio about tasks that nobody started."""

import subprocess
import sys
from pathlib import Path

import pytest

BEGINNING = """
import asyncio, gc, logging
from memory_engine import FakeStorage
from scripted_engine import ScriptedEngine, ScriptedStorage

logging.basicConfig(format="%(message)s")
logging.getLogger("oacp_storage_engine").setLevel(logging.ERROR)
# "Executing ... took 0.123 seconds" tells how busy the machine is.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
storage = FakeStorage()
slow = ScriptedStorage(ScriptedEngine(*[60.0] * 10))

async def store(n=1):
    return await storage.store_interaction("ann", {"n": n})

def ended_abruptly(main):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main)
    loop.close()
"""

ENDINGS = {
    "never closed": "asyncio.run(store())",
    "the loop just closed": "ended_abruptly(store())",
    "closed in the same loop": """
async def main():
    async with storage:
        await store()
asyncio.run(main())
""",
    "closed in another loop": "asyncio.run(store()); asyncio.run(storage.close())",
    "given up in the middle of a commit": """
async def main():
    try:
        await asyncio.wait_for(slow.store_interaction("ann", {}), 0.05)
    except TimeoutError:
        pass
ended_abruptly(main())
""",
    "given up in the middle of a commit, and run": """
async def main():
    try:
        await asyncio.wait_for(slow.store_interaction("ann", {}), 0.05)
    except TimeoutError:
        pass
asyncio.run(main())
""",
    "given up while opening": """
slow.engines  # not open yet
slow._waiting[0].open_seconds = 60
async def main():
    try:
        await asyncio.wait_for(slow.store_interaction("ann", {}), 0.05)
    except TimeoutError:
        pass
ended_abruptly(main())
""",
    "a watcher left behind": """
async def main():
    await store()
    async for one in storage.watch_interactions("ann", after=0):
        break
ended_abruptly(main())
""",
    "a watcher kept": """
async def main():
    global kept
    await store()
    kept = storage.watch_interactions("ann", after=0)
    await anext(kept)
ended_abruptly(main())
""",
    "a watcher that waited": """
async def main():
    watching = storage.watch_interactions("ann", after=0)
    try:
        await asyncio.wait_for(anext(watching), 0.05)
    except TimeoutError:
        pass
ended_abruptly(main())
""",
    "a watcher in a task of its own": """
async def watch():
    async for one in storage.watch_interactions("ann", after=0):
        pass
async def main():
    global task
    task = asyncio.ensure_future(watch())
    await asyncio.sleep(0.05)
    await store()
asyncio.run(main())
""",
    "history and verification left behind": """
async def main():
    for n in range(3):
        await store(n)
    async for one in storage.iter_interactions("ann"):
        break
    async for one in storage.verify():
        break
ended_abruptly(main())
""",
    "an opening that fails and is not waited for": """
from oacp_storage_engine import NotApplied
slow._waiting[0].open_error = NotApplied("away")
slow._waiting[0].open_seconds = 0.05
async def main():
    try:
        await asyncio.wait_for(slow.open(), 0.01)
    except TimeoutError:
        pass
    await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "errors that nobody fetched": """
from oacp_storage_engine import NotApplied
async def main():
    engine = ScriptedEngine(0.01, RuntimeError("a defect"))
    failing = ScriptedStorage(engine)
    tasks = [asyncio.ensure_future(failing.store_interaction("ann", {"n": n})) for n in range(3)]
    await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "close given up": """
slow._waiting[0].close_seconds = 60
async def main():
    await slow.open()
    try:
        await asyncio.wait_for(slow.close(), 0.05)
    except TimeoutError:
        pass
ended_abruptly(main())
""",
    "interrupted": """
import os, signal
async def main():
    tasks = [asyncio.ensure_future(slow.store_interaction("ann", {"n": n})) for n in range(3)]
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.gather(*tasks)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
""",
}


@pytest.mark.parametrize("name", ENDINGS)
def test_it_ends_quietly(name: str) -> None:
    code = f"{BEGINNING}\n{ENDINGS[name]}\ngc.collect()\nprint('ended')"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
