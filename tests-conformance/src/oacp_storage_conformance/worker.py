"""What the suite's other processes do: ``python -m oacp_storage_conformance.worker``, a task as JSON on stdin.

Each line on stdout is one JSON value, written as soon as it is true: the parent may kill this process at any
moment and hold the store to what was said until then.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from oacp_storage_conformance.sources import build, from_plain
from oacp_storage_core import Capability, Storage

Task = Callable[..., Awaitable[None]]


def say(value: Any) -> None:
    """One line for the parent, whole and at once."""
    os.write(1, json.dumps(value).encode() + b"\n")


async def append(
    storage: Storage, agents: list[str], by: int, tasks: int, seconds: float, count: int
) -> None:
    """Tasks append until the time is over (or ``count`` each), and say what was acknowledged."""
    ends = time.monotonic() + seconds

    async def work(task: int) -> None:
        agent, n = agents[task % len(agents)], 0
        while time.monotonic() < ends and n < count:
            await storage.store_interaction(agent, {"by": by, "task": task, "n": n})
            say([agent, by, task, n])
            n += 1

    await asyncio.gather(*(work(task) for task in range(tasks)))


async def append_one(storage: Storage, agent: str, payload: dict[str, Any]) -> None:
    """Append one payload."""
    say(await storage.store_interaction(agent, payload))


async def batches(storage: Storage, agent: str, size: int) -> None:
    """Append batches without end; says how many were acknowledged."""
    n = 0
    while True:
        await storage.store_interactions(agent, [{"batch": n, "of": size}] * size)
        n += 1
        say(n)


async def turns(storage: Storage, agent: str) -> None:
    """Record turns without end; says how many were acknowledged."""
    n = 0
    while True:
        n += 1
        await storage.record_turn(
            agent, interactions=[{"turn": n}] * 3, state={"turn": n}, learning={"turn": {"turn": n}}
        )
        say(n)


async def write_once(storage: Storage, writes: list[list[Any]]) -> None:
    """Call the methods named with their arguments, say so, and wait to be killed."""
    for method, arguments, keywords in writes:
        await getattr(storage, method)(*arguments, **keywords)
    say("written")
    await asyncio.Event().wait()


async def delete(storage: Storage, agent: str) -> None:
    """Delete the agent."""
    say("deleting")
    deletion = await storage.delete_agent(agent)
    say(deletion.interactions)


async def come_and_go(
    storage: Storage, agent: str, by: int, rounds: int, stay: bool, another: Callable[[], Storage]
) -> None:
    """Append by storages that are opened, used and closed; with ``stay``, between appends by one that stays open."""
    if not stay:
        await storage.close()
    for n in range(rounds):
        if stay:
            await storage.store_interaction(agent, {"by": by, "n": 2 * n})
        async with another() as guest:
            await guest.store_interaction(agent, {"by": by, "n": 2 * n + 1})
    say(rounds)


async def increment(storage: Storage, agent: str, count: int) -> None:
    """Count the agent's state up, by compare-and-set."""
    for _ in range(count):
        await storage.update_agent_state(agent, lambda data: {"n": (data or {"n": 0})["n"] + 1})
    say(count)


async def watch(storage: Storage, agent: str, count: int) -> None:
    """Watch the agent; says each sequence as it comes, and how many nanoseconds its payload is old."""
    records = storage.watch_interactions(agent, after=0)
    for _ in range(count):
        one = await anext(records)
        say([one.sequence, time.time_ns() - one.data.get("at", 0)])


async def leave_open(storage: Storage, agent: str) -> None:
    """Use the storage and leave it open, with a watcher waiting, so that only the interpreter ends it."""
    for n in range(3):
        await storage.store_interaction(agent, {"n": n})
    if Capability.WATCH in storage.capabilities:
        watching = asyncio.ensure_future(anext(storage.watch_interactions(agent)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not watching.done(), "nothing was appended that could arrive"
    say("leaving")


async def fork(storage: Storage, agent: str, count: int) -> None:
    """Fork in the middle of use; parent and child go on with the same storage object, at the same time."""
    await storage.store_interaction(agent, {"by": "before", "n": 0})
    pending = [
        asyncio.ensure_future(storage.store_interaction(agent, {"by": "pending", "n": n})) for n in range(4)
    ]
    await asyncio.sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forking with threads is risky is why this is tested
        child = os.fork()
    if child == 0:
        os._exit(_forked(storage, agent, count))
    for n in range(count):
        await storage.store_interaction(agent, {"by": "parent", "n": n})
    await asyncio.gather(*pending)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    say(["child", os.waitstatus_to_exitcode(status)])
    await storage.store_interaction(agent, {"by": "after", "n": 0})


def _forked(storage: Storage, agent: str, count: int) -> int:
    """The child's part, in an event loop of its own: the one it inherited belongs to the parent."""
    asyncio._set_running_loop(None)  # noqa: SLF001 - what a forked child must do before it may run a loop

    async def work() -> None:
        for n in range(count):
            await storage.store_interaction(agent, {"by": "child", "n": n})
        await storage.close()

    try:
        asyncio.run(work())
    except BaseException as exc:  # noqa: BLE001 - the child must not return into the parent's code
        os.write(2, f"in the forked child: {exc!r}\n".encode())
        return 1
    return 0


TASKS: dict[str, Task] = {
    task.__name__: task
    for task in (
        append,
        append_one,
        batches,
        turns,
        write_once,
        delete,
        come_and_go,
        increment,
        watch,
        leave_open,
        fork,
    )
}


async def _run(storage: Storage, task: Task, arguments: dict[str, Any], *, close: bool) -> None:
    await storage.open()
    say("open")
    await task(storage, **arguments)
    if close:
        await storage.close()


def main() -> None:
    """Read the task from stdin and do it."""
    job = json.loads(sys.stdin.readline())
    sys.path[:] = job["path"]
    if skew := job.get("skew_seconds"):  # this process's clock is wrong
        real_ns, real = time.time_ns, time.time
        time.time_ns = lambda: real_ns() + int(skew * 1e9)
        time.time = lambda: real() + skew
    task, arguments = TASKS[job["task"]], job["arguments"]
    another = partial(build, from_plain(job["source"]), **job["options"])
    if task is come_and_go:
        arguments["another"] = another
    asyncio.run(_run(another(), task, arguments, close=task is not leave_open))


if __name__ == "__main__":
    main()
