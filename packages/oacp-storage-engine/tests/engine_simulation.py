"""A small world for the engine, all of it drawn from a seed: callers, faults, cancellations, loops that end.

    python engine_simulation.py SEED

runs one seed again and says what was violated. See ``simulation_check.py`` for what is proven of each run.
"""

import asyncio
import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from faulty_engine import CURRENT, Faults, FaultyEngine, Truth
from memory_engine import FakeStorage, MemoryStore
from oacp_storage_core import Interaction, StorageClosedError, StorageError
from oacp_storage_engine import Unit, deletions, group_commit, log_iterators
from oacp_storage_engine.group_commit import GroupCommit
from simulated_calls import Calls, Operation
from virtual_loop import START, Deadlock, VirtualLoop

Payload = dict[str, Any]


@dataclass(eq=False)
class Watcher:
    """What somebody saw who watches an agent, over several storages and loops."""

    agent: str
    after: int | None
    first_tick: int = 0
    started_tick: int | None = None
    seen: list[tuple[int, Interaction]] = field(default_factory=list)
    iterator: Any = None
    storage: "SimulatedStorage | None" = None


class SimulatedStorage(FakeStorage):
    """A storage with engines that fail."""

    def __init__(self, world: "World") -> None:
        self._world = world
        super().__init__(world.store, timeout=world.timeout)

    def _make_engine(self) -> FaultyEngine:
        world = self._world
        engine = FaultyEngine(
            world.store,
            world.faults,
            world.truth,
            lanes=world.lanes,
            group=world.group,
            tells_which=world.tells_which,
        )
        self.engines.append(engine)
        return engine


class World:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.truth = Truth()
        self.store = MemoryStore()
        self.quiet = rng.random() < 0.2
        self.timeout = 30.0 if self.quiet else rng.choice([2.0, 5.0, 30.0])
        self.lanes = rng.choice([1, 1, 2, 3])
        self.group = rng.choice([1, 3, 10, 1000])
        self.queue = rng.choice([2, 5, 20_000])
        self.tells_which = rng.random() < 0.5
        self.step = rng.choice([2, 10_000])
        self.agents = ["ann", "bob", "cay"][: rng.randint(1, 3)]
        self.faults = Faults(rng, {} if self.quiet else _draw_rates(rng), rng.choice([0.001, 0.05, 1.0]))
        self.storages = [SimulatedStorage(self) for _ in range(rng.choice([1, 1, 2]))]
        self.operations: list[Operation] = []
        self.calls = Calls(rng)
        self.closings: dict[FakeStorage, int] = {}
        self.watchers = [
            Watcher(rng.choice(self.agents), rng.choice([0, 0, None])) for _ in range(rng.randint(1, 3))
        ]
        self.problems: list[str] = []
        self.now = START
        self.started = 0
        self.dropped = False
        self.loop: VirtualLoop
        self.cancelled_tasks: set[str] = set()

    @property
    def trace(self) -> list[tuple[Any, ...]]:
        """What happened, without the ids and times that are drawn elsewhere: the same for the same seed."""
        calls = [
            (one.number, one.name, one.slot, one.began, one.ended, type(one.error).__name__)
            for one in self.operations
        ]
        return [*calls, *((type(event).__name__, event.tick) for event in self.truth.events)]

    # --- the course of events -----------------------------------------------------------------------------

    def run(self) -> "World":
        """All phases, each in a loop of its own; the last one ends well."""
        random.seed(self.seed)
        gc.freeze()  # what is there already need not be looked through again and again
        gc.disable()  # it would do its work at moments that no seed decides
        try:
            self._run()
        finally:
            gc.enable()
        self.problems += self.truth.misuse
        return self

    def _run(self) -> None:
        with _instrumented(self):
            for _ in range(self.rng.choice([0, 0, 1, 2])):
                self._phase(self._busy(), self.rng.choice(["finish", "cancel", "drop"]))
                self.truth.settle(self.rng)
            self._phase(self._last(), "finish")

    def _phase(self, main: Any, ending: str) -> None:
        loop = self.loop = VirtualLoop(self.rng if self.rng.random() < 0.5 else None, start=self.now)
        asyncio.set_event_loop(loop)
        try:
            task = loop.create_task(main)
            if ending == "finish":
                loop.run_until_complete(task)
            else:
                _leave_quietly(task)
                loop.run_until_complete(asyncio.sleep(self.rng.random() * 4))
            self.dropped |= ending == "drop"
            if ending == "cancel":
                self._cancel_all(loop)
        except Deadlock as exc:
            self.problems.append(
                f"deadlock: {exc}; unfinished: {[o for o in self.operations if not o.ended]}"
            )
        finally:
            self.now = loop.now
            loop.close()
            for operation in self.operations:
                operation.lost = operation.ended is None
            asyncio.set_event_loop(None)
            self.problems += [f"asyncio reports: {report}" for report in loop.reports]

    def _cancel_all(self, loop: VirtualLoop) -> None:
        """As ``asyncio.run`` does when its main coroutine has ended."""
        tasks = [task for task in loop.tasks if not task.done()]
        for task in tasks:
            task.cancel()
            self.cancelled_tasks.add(task.get_name())
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _busy(self) -> None:
        watching = [self._start(self._watch(watcher)) for watcher in self.watchers]
        await self._callers()
        await _end(watching)

    async def _last(self) -> None:
        """A last busy phase; then the faults end, watchers catch up by themselves, and everything is closed."""
        watching = [self._start(self._watch(watcher)) for watcher in self.watchers]
        await self._callers()
        self.faults.calm()
        # Until what hangs was given up, late requests have arrived, and listeners listen again.
        await asyncio.sleep(2 * self.timeout + 20)
        await _end(watching)
        for agent in self.agents:
            await self._do("log", (agent, ""))
        for one in self.storages:
            await self._close(one)
        await asyncio.sleep(0)
        rest = [task for task in self.loop.tasks if not task.done() and "oacp-storage" in task.get_name()]
        self.problems += [f"still running after close: {task}" for task in rest]

    async def _callers(self) -> None:
        callers = [self._start(self._caller()) for _ in range(self.rng.randint(2, 6))]
        weather = self._start(self._weather())
        await asyncio.gather(*callers)
        await _end([weather])

    def _start(self, coroutine: Any) -> asyncio.Task[Any]:
        self.started += 1
        task = asyncio.get_running_loop().create_task(coroutine, name=f"simulation {self.started}")
        _leave_quietly(task)
        return task

    async def _weather(self) -> None:
        """Now and then the server is away, or a storage is closed and another one takes its place."""
        while True:
            await asyncio.sleep(self.rng.random() * 3)
            if not self.quiet and self.rng.random() < 0.3:
                self.faults.outage = True
                await asyncio.sleep(self.rng.choice([0.1, 1.0, self.timeout * 1.5]))
                self.faults.outage = False
            if not self.quiet and self.rng.random() < 0.3:
                self._cancel_background_tasks()
            if self.rng.random() < 0.1:
                await self._close(self.rng.choice(self.storages))

    def _cancel_background_tasks(self) -> None:
        """As a program does that cancels all tasks and then goes on, though its calls are spared here."""
        for task in self.loop.tasks:
            ours = task.get_name().startswith("oacp-storage") and "close" not in task.get_name()
            if ours and not task.done() and self.rng.random() < 0.7:
                task.cancel()

    async def _close(self, closing: SimulatedStorage) -> None:
        self.closings.setdefault(closing, self.truth.tick())
        if closing in self.storages:
            self.storages[self.storages.index(closing)] = SimulatedStorage(self)
        await closing.close()
        for operation in self.operations:
            lost = operation.lost or operation.name == "update"  # which may be in the caller's own code
            if operation.storage is closing and operation.ended is None and not lost:
                self.problems.append(f"close() returned while a call was in flight: {operation}")

    async def _watch(self, watcher: Watcher) -> None:
        """Goes on watching, whatever happens; a new iterator only after the storage was closed."""
        while True:
            if watcher.iterator is None:
                watcher.storage = self.rng.choice(self.storages)
                after = watcher.seen[-1][1].sequence if watcher.seen else watcher.after
                watcher.iterator = watcher.storage.watch_interactions(watcher.agent, after=after)
                watcher.first_tick = watcher.first_tick or self.truth.tick()
            try:
                if self.rng.random() < 0.2:
                    async with asyncio.timeout(self.rng.random()):
                        interaction = await anext(watcher.iterator)
                else:
                    interaction = await anext(watcher.iterator)
                watcher.seen.append((self.truth.tick(), interaction))
            except StorageClosedError:
                watcher.iterator = None
            except (TimeoutError, StorageError):
                await asyncio.sleep(0.1)
            except Exception as exc:  # noqa: BLE001 - whatever it is, nobody should get it
                self.problems.append(f"a watcher got {exc!r}")
                return

    async def _caller(self) -> None:
        """Makes calls, some at once, some of which are cancelled."""
        mine: list[asyncio.Task[Any]] = []
        for _ in range(self.rng.randint(3, 16)):
            mine.append(self._start(self._do_something()))
            if self.rng.random() < 0.15:
                self._cancel_later(mine[-1])
            if self.rng.random() < 0.5:
                await asyncio.wait([mine[-1]])
            elif self.rng.random() < 0.5:
                await asyncio.sleep(self.rng.random() * self.faults.longest_delay)
        await asyncio.wait(mine)

    async def _do_something(self) -> None:
        name, slot = self.calls.draw(self.agents)
        if name == "turn":
            ids = [f"turn-{len(self.operations)}-{i}" for i in range(self.rng.randint(1, 2))]
            for _ in range(3):  # repeated with the same ids until it is known to be stored
                operation = await self._do("turn", slot, ids=ids)
                if operation.acknowledged:
                    return
        else:
            await self._do(name, slot)

    async def _do(self, name: str, slot: tuple[str | None, str], **arguments: Any) -> Operation:
        """Make one call and record how it ended; only cancellation comes out of it."""
        number = len(self.operations)
        operation = Operation(number, name, self.rng.choice(self.storages), slot, arguments)
        task = asyncio.current_task()
        operation.task = task.get_name() if task is not None else ""
        self.operations.append(operation)
        call = getattr(self.calls, name)
        token = CURRENT.set(operation)
        operation.began = self.truth.tick()
        begun = asyncio.get_running_loop().time()
        try:
            operation.result = await call(operation)
        except GeneratorExit:  # the loop was closed: nobody knows
            raise
        except BaseException as exc:
            operation.error = exc
            operation.ended = self.truth.tick()
            if not isinstance(exc, Exception):
                raise
        else:
            operation.ended = self.truth.tick()
        finally:
            operation.seconds = self._seconds_since(begun)
        CURRENT.reset(token)
        return operation

    def _cancel_later(self, task: asyncio.Task[Any]) -> None:
        def cancel() -> None:
            if not task.done():
                self.cancelled_tasks.add(task.get_name())
                task.cancel()

        loop = asyncio.get_running_loop()
        if self.rng.random() < 0.5:
            loop.call_soon(loop.call_soon, cancel)
        else:
            loop.call_later(self.rng.random() * 0.1, cancel)

    def _seconds_since(self, begun: float) -> float:
        try:
            return asyncio.get_running_loop().time() - begun
        except RuntimeError:  # destroyed with its loop
            return 0.0


def _draw_rates(rng: random.Random) -> dict[str, float]:
    """Up to every fourth call goes wrong somehow."""
    kinds = ["not applied", "lost", "lost reply", "late", "hang", "fatal"]
    return {
        kind: rng.choice([0, 0, 0.02, 0.08]) * (0.2 if kind in ("hang", "fatal") else 1) for kind in kinds
    }


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _leave_quietly(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - loops end under tasks here


@contextmanager
def _instrumented(world: World) -> Iterator[None]:
    """Small queues, no second look for watchers, and every unit known by its operation."""
    append = GroupCommit._append  # noqa: SLF001 - where calls become units

    def noted(self: GroupCommit, work: Any, size: int, deadline: float) -> Any:
        operation = CURRENT.get()
        if isinstance(work, Unit):
            world.truth.units[id(work)] = (work, operation)
        else:
            step = work

            async def work(attempt: str, deadline: float) -> Any:
                CURRENT.set(operation)
                return await step(attempt, deadline)

        return append(self, work, size, deadline)

    unraisable: list[Any] = []
    with (
        mock.patch.object(group_commit, "MAX_QUEUED_UNITS", world.queue),
        mock.patch.object(log_iterators, "_RECHECK", 1e9),
        mock.patch.object(deletions, "_TRIM_STEP", world.step),
        mock.patch.object(deletions, "_ERASE_STEP", world.step),
        mock.patch.object(GroupCommit, "_append", noted),
        mock.patch.object(sys, "unraisablehook", unraisable.append),
    ):
        yield
        if world.dropped:
            gc.collect()  # destroys what was left unfinished, which must be quiet
    world.problems += [f"ignored: {one.exc_value!r} in {one.object!r}" for one in unraisable]


def main() -> None:
    """Run one seed, and print what was violated."""
    from simulation_check import violations

    world = World(int(sys.argv[1])).run()
    found = violations(world)
    print(f"seed {world.seed}: {len(world.operations)} calls, {len(world.truth.events)} events")
    print("\n".join(found) or "nothing violated")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
