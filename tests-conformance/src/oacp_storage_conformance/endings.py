"""Programs that end in the ways programs end, run with warnings as errors: a storage leaves nothing unclosed."""

from __future__ import annotations

import subprocess
import sys

PROGRAMS = {
    "a loop that ends": """
storage = make()
for n in range(3):
    asyncio.run(storage.store_interaction("ann", {"n": n}))
print(len(asyncio.run(storage.get_interactions("ann"))))
asyncio.run(storage.close())
""",
    "a fork": """
storage = make()
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
    async with make() as storage:
        records = storage.watch_interactions("ann", after=0)
        waiting = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0.2)
        await storage.store_interaction("ann", {})
        await waiting
        await storage.store_interactions("ann", [{}, {}])
        print(len(await storage.get_interactions("ann")))
asyncio.run(main())
""",
    "reads cancelled on the way": """
async def main():
    async with make() as storage:
        await storage.store_interactions("ann", [{}] * 3)
        for steps in range(8):
            task = asyncio.ensure_future(storage.get_interactions("ann"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        print(len(await storage.get_interactions("ann")))
asyncio.run(main())
""",
}
"""By what happens in them. Each leaves three interactions of one agent, and prints that it found three."""


def assert_nothing_is_left_unclosed(program: str, *, module: str, make: str) -> None:
    """Run one of the ``PROGRAMS``; ``make`` is the expression of a new storage, with ``module`` imported.

    The place must be empty. Python's development mode is on, so that a resource or a task that nobody ended is
    reported, and fails the test.
    """
    text = (
        f"import asyncio, gc, os, warnings\nimport {module}\nmake = lambda: {make}\n{program}\ngc.collect()\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr
    for word in ("ResourceWarning", "Traceback", "destroyed"):
        assert word not in done.stderr, done.stderr
