"""A ``MemoryEngine`` that does to each commit what a script says, and a storage over it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from memory_engine import FakeStorage, MemoryEngine
from oacp_storage_core import StorageError
from oacp_storage_engine import Engine, Info, Outcome, Rejected, Unit, Unknown

Act = Callable[[str, Sequence[Unit]], Awaitable[Sequence[Outcome | Rejected]]]


class ScriptedEngine(MemoryEngine):
    """``script`` holds what happens to the next commits: seconds that it takes, an error to raise, or a function
    to call instead. ``sent`` holds what was sent, under which attempt, and until when."""

    def __init__(self, *script: float | Exception | Act, lanes: int = 1) -> None:
        super().__init__(lanes=lanes)
        self.script: deque[float | Exception | Act] = deque(script)
        self.sent: list[tuple[str, list[Unit], float]] = []
        self.open_error: BaseException | None = None
        self.open_seconds = 0.0
        self.close_seconds = 0.0

    async def open(self) -> Info:
        await asyncio.sleep(self.open_seconds)
        if self.open_error is not None:
            raise self.open_error
        return await super().open()

    async def close(self) -> None:
        await asyncio.sleep(self.close_seconds)
        await super().close()

    async def commit(
        self, attempt: str, units: Sequence[Unit], *, deadline: float
    ) -> Sequence[Outcome | Rejected]:
        self.sent.append((attempt, list(units), deadline))
        step = self.script.popleft() if self.script else 0.0
        if isinstance(step, Exception):
            raise step
        if callable(step):
            return await step(attempt, units)
        await asyncio.sleep(step)
        return await super().commit(attempt, units, deadline=deadline)

    async def lose_reply(self, attempt: str, units: Sequence[Unit]) -> list[Outcome]:
        """For the script: the commit is applied, and nobody is told."""
        self.apply(attempt, units)
        raise Unknown("the connection was lost")

    @property
    def groups(self) -> list[list[str]]:
        """The bodies of the appends that were applied, group by group."""
        return [[one.body.decode() for unit in units for one in unit.appends] for units in self.store.commits]


class ScriptedStorage(FakeStorage):
    """A storage over one scripted engine, or over several, one after the other."""

    def __init__(self, *engines: ScriptedEngine, timeout: float = 30.0) -> None:
        self._waiting = deque(engines)
        super().__init__(engines[0].store, timeout=timeout)
        for engine in engines:
            engine.store, engine.tenant = engines[0].store, engines[0].tenant

    def _make_engine(self) -> Engine:
        engine = self._waiting.popleft()
        self.engines.append(engine)
        return engine


async def outcome_of(awaitable: Awaitable[object]) -> object:
    """What it returned, or the ``StorageError`` that it raised."""
    try:
        return await awaitable
    except StorageError as exc:
        return exc
