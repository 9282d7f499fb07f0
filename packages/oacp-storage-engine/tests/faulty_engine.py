"""A ``MemoryEngine`` to which happens what happens to engines: delays, lost replies, hangs, outages, refusals.

What is really applied is recorded in order, so that a check can compare it with what callers were told.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from memory_engine import MemoryEngine, MemoryStore
from oacp_storage_core import RetentionPick, SchemaVersionError
from oacp_storage_engine import (
    Doc,
    DocKind,
    Erased,
    Hint,
    Info,
    NotApplied,
    Outcome,
    Page,
    Record,
    Rejected,
    Trimmed,
    Unit,
    Unknown,
)

T = TypeVar("T")

POISON = b'"poison":true'
"""What makes the store refuse a unit whose body contains it."""

CURRENT: ContextVar[Any] = ContextVar("CURRENT", default=None)
"""The operation on whose behalf the code runs."""


class Committed(NamedTuple):
    """A group that was applied: operation, unit and outcome of each."""

    tick: int
    units: list[tuple[Any, Unit, Outcome]]


class Removed(NamedTuple):
    """Interactions that retention deleted."""

    tick: int
    operation: Any
    sequences: list[tuple[str, int]]


class Hidden(NamedTuple):
    """An agent that was deleted."""

    tick: int
    operation: Any
    agent: str


@dataclass
class Faults:
    """How often what goes wrong, drawn from ``rng``. Rates are probabilities per call of a primitive."""

    rng: random.Random
    rates: dict[str, float] = field(default_factory=dict)
    longest_delay: float = 0.05
    outage: bool = False

    def draw(self) -> str | None:
        roll = self.rng.random()
        for name, rate in self.rates.items():
            roll -= rate
            if roll < 0:
                return name
        return None

    def delay(self) -> float:
        return self.rng.random() ** 3 * self.longest_delay

    def calm(self) -> None:
        self.rates = {}
        self.outage = False


class Truth:
    """What happened, in order. ``units`` tells to which operation a unit belongs, by its identity."""

    def __init__(self) -> None:
        self.now = 0
        self.events: list[Committed | Removed | Hidden] = []
        self.units: dict[int, tuple[Unit, Any]] = {}
        self.under_way: list[Callable[[], object]] = []
        self.misuse: list[str] = []

    def tick(self) -> int:
        self.now += 1
        return self.now

    def settle(self, rng: random.Random) -> None:
        """What was under way when its connection or its loop was lost arrives, or never will."""
        under_way, self.under_way = self.under_way, []
        for apply in under_way:
            if rng.random() < 0.5:
                apply()


class FaultyEngine(MemoryEngine):
    """A connection to the store that fails as ``faults`` say. It also reports when it is used against its rules."""

    def __init__(
        self,
        store: MemoryStore,
        faults: Faults,
        truth: Truth,
        *,
        lanes: int,
        group: int,
        tells_which: bool,
    ) -> None:
        super().__init__(store, lanes=lanes)
        self.max_group_units = group
        self._tells_which = tells_which
        self._faults = faults
        self._truth = truth
        self._busy: set[int] = set()
        self._in_use = 0

    async def open(self) -> Info:
        await self._wait()
        fault = self._faults.draw()
        if fault == "hang":
            await asyncio.sleep(1e6)
        if fault is not None or self._faults.outage:
            raise NotApplied("connection refused")
        return await super().open()

    async def close(self) -> None:
        if self._in_use:
            self._truth.misuse.append(f"closed with {self._in_use} calls under way")
        await self._wait()
        await super().close()

    async def inspect(self) -> Info:
        await self._reach()
        return self.info

    async def commit(
        self, attempt: str, units: Sequence[Unit], *, deadline: float
    ) -> Sequence[Outcome | Rejected]:
        lanes = {self.lane_of(unit.slot) for unit in units}
        if len(lanes) != 1 or lanes & self._busy:
            self._truth.misuse.append(f"commit in lanes {lanes} while {self._busy} are busy")
        operations = [self._truth.units[id(unit)][1] for unit in units]

        def apply() -> Sequence[Outcome | Rejected]:
            fresh = attempt not in self.tenant.receipts
            refused = [any(POISON in body for body in bodies_of(unit)) for unit in units]
            if any(refused) and not self._tells_which:
                raise Rejected("the store cannot take this")
            taken = [unit for unit, no in zip(units, refused, strict=True) if not no]
            outcomes = iter(self.apply(attempt, taken))
            result = [Rejected("the store cannot take this") if no else next(outcomes) for no in refused]
            if fresh:
                done = [
                    (operation, unit, outcome)
                    for operation, unit, outcome in zip(operations, units, result, strict=True)
                    if not isinstance(outcome, Rejected)
                ]
                self._truth.events.append(Committed(self._truth.tick(), done))
            return result

        self._busy |= lanes
        try:
            return await self._try(operations, apply, deadline)
        finally:
            self._busy -= lanes

    async def trim(
        self,
        attempt: str,
        agents: Sequence[str],
        pick: RetentionPick,
        *,
        dry_run: bool,
        limit: int,
        deadline: float,
    ) -> Trimmed:
        operation = CURRENT.get()

        def apply() -> Trimmed:
            fresh = attempt not in self.tenant.receipts
            before = {(agent, one) for agent in agents for one in self.tenant.logs.get(agent, {})}
            trimmed = self.apply_trim(attempt, agents, pick, dry_run, limit)
            if fresh:
                after = {(agent, one) for agent in agents for one in self.tenant.logs.get(agent, {})}
                removed = Removed(self._truth.tick(), operation, sorted(before - after))
                self._truth.events.append(removed)
            return trimmed

        return await self._try([operation], apply, deadline)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        operation = CURRENT.get()

        def apply() -> Erased:
            fresh = attempt not in self.tenant.receipts
            erased = self.apply_erase(attempt, agent, begin, limit)
            if fresh and begin:
                self._truth.events.append(Hidden(self._truth.tick(), operation, agent))
            return erased

        return await self._try([operation], apply, deadline)

    async def _try(self, operations: list[Any], apply: Callable[[], T], deadline: float) -> T:
        """Apply, or not, and tell, or not."""
        try:
            return await self._try_once(operations, apply, deadline)
        except asyncio.CancelledError:
            for operation in operations:
                operation.sent = True  # as far as anybody can know
            raise

    async def _try_once(self, operations: list[Any], apply: Callable[[], T], deadline: float) -> T:
        with self._use():
            fault = "not applied" if self._faults.outage else self._faults.draw()
            if fault == "fatal":
                raise SchemaVersionError("the store has schema version 99")
            if fault != "not applied":
                for operation in operations:
                    operation.sent = True
            if not await self._wait(deadline) or fault == "not applied":
                raise NotApplied("the server is not there")
            if fault == "hang":
                if self._faults.rng.random() < 0.5:
                    apply()
                await asyncio.sleep(1e6)
            if fault == "lost":
                raise Unknown("the connection was lost")
            if fault == "late":
                self._later(apply)
                raise Unknown("the connection was lost")
            result = apply()
            if not await self._wait(deadline) or fault == "lost reply":
                raise Unknown("the connection was lost before the reply")
            return result

    def _later(self, apply: Callable[[], object]) -> None:
        """The request is still on its way, and nobody waits for what becomes of it."""

        def arrive() -> None:
            if once in self._truth.under_way:
                self._truth.under_way.remove(once)
                once()

        def once() -> None:
            try:
                apply()
            except Rejected:
                return  # it is refused whenever it arrives

        self._truth.under_way.append(once)
        asyncio.get_running_loop().call_later(self._faults.rng.random() * 3, arrive)

    async def _wait(self, deadline: float | None = None) -> bool:
        """Some time passes; whether it stayed before the deadline."""
        loop = asyncio.get_running_loop()
        delay = self._faults.delay()
        if deadline is not None and loop.time() + delay > deadline:
            await asyncio.sleep(max(deadline - loop.time(), 0))
            return False
        await asyncio.sleep(delay)
        return True

    async def _reach(self) -> None:
        """A read reaches the server, or it does not."""
        with self._use():
            fault = self._faults.draw()
            await self._wait()
            if fault == "hang":
                await asyncio.sleep(1e6)
            if self._faults.outage or fault in ("not applied", "lost", "lost reply"):
                raise NotApplied("the server is not there") if fault != "lost" else Unknown("connection lost")

    def _use(self) -> "_Use":
        if not self.is_open and not self.abandoned:
            self._truth.misuse.append("used while not open")
        if self.abandoned:
            raise NotApplied("the connection was dropped")
        return _Use(self)

    # --- reading ------------------------------------------------------------------------------------------

    async def read_log(
        self,
        agent: str,
        low: int,
        high: int | None,
        *,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None = None,
    ) -> Page:
        await self._reach()
        return await self._reply(
            super().read_log(agent, low, high, reverse=reverse, limit=limit, max_bytes=max_bytes, hint=hint)
        )

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        await self._reach()
        return await self._reply(super().find(agent, ids))

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        await self._reach()
        return await self._reply(super().read_docs(agent, kind, keys))

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        await self._reach()
        return await self._reply(super().scan_agents(prefix=prefix, after=after, limit=limit))

    async def _reply(self, answer: Awaitable[T]) -> T:
        result = await answer
        await self._wait()
        return result

    async def signals(self) -> AsyncGenerator[str | None, None]:
        """Breaks now and then, and tells once it listens again."""
        async with aclosing(super().signals()) as signals:
            async for agent in signals:
                if self._faults.outage or self._faults.draw() is not None:
                    raise NotApplied("the connection was lost")
                yield agent


class _Use:
    """Counts the calls under way."""

    def __init__(self, engine: FaultyEngine) -> None:
        self._engine = engine

    def __enter__(self) -> None:
        self._engine._in_use += 1  # noqa: SLF001 - the engine's own helper

    def __exit__(self, *exc: object) -> None:
        self._engine._in_use -= 1  # noqa: SLF001 - the engine's own helper


def bodies_of(unit: Unit) -> list[bytes]:
    """The bodies that a unit writes."""
    return [append.body for append in unit.appends] + [put.body for put in unit.puts if put.body]
