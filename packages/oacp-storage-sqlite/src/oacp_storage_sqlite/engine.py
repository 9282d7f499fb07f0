"""The engine: the primitives of ``oacp_storage_engine`` over one SQLite database."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from oacp_storage_core import Damage, RetentionPick, StorageClosedError, StorageError
from oacp_storage_engine import (
    Doc,
    DocKind,
    Engine,
    Erased,
    Hint,
    Info,
    Outcome,
    Page,
    Record,
    Trimmed,
    Unit,
)
from oacp_storage_sqlite.database import Settings
from oacp_storage_sqlite.faults import code_of
from oacp_storage_sqlite.inspection import Written, faults, inspect, written_by
from oacp_storage_sqlite.job_connection import JobConnection
from oacp_storage_sqlite.opening import open_database
from oacp_storage_sqlite.readers import ReaderPool
from oacp_storage_sqlite.reading import Reader, in_one_view
from oacp_storage_sqlite.retention import (
    count_picked,
    give_back_pages,
    has_hidden,
    has_spare_pages,
    hide,
    sweep,
    trim,
)
from oacp_storage_sqlite.schema import Schema, pragma
from oacp_storage_sqlite.transaction import Transactions, Translated, retry
from oacp_storage_sqlite.turns import Turn
from oacp_storage_sqlite.writer import Place, Writer, name_hash

T = TypeVar("T")

_POLL_SECONDS = 0.05
_SWEEP_ROWS = 10_000


class SQLiteEngine(Engine):
    """One connection that writes, and a pool of readers beside it. ``timeout`` is the seconds for opening."""

    def __init__(
        self, settings: Settings, namespace: str, *, schema: Schema, pool_size: int, timeout: float
    ) -> None:
        self._settings = settings
        self._namespace = namespace
        self._schema = schema
        self._timeout = timeout
        self._opened = False
        self._written = Written("", 0)
        self._turn = Turn(settings.path)
        self._writer = Writer(namespace)
        self._reader = Reader(namespace)
        self._readers = ReaderPool(self._connect_reader, pool_size)
        self._watching: set[JobConnection] = set()
        self._connection: JobConnection | None = None
        self._transactions = Transactions(
            settings, schema, self._turn, discard=self._discard, changed=self._writer.forget
        )

    # --- opening and closing ------------------------------------------------------------------------------

    async def open(self) -> Info:
        deadline = asyncio.get_running_loop().time() + self._timeout
        self._connection = JobConnection(self._connect, closed=self._turn.close)
        await self._connection.perform(lambda _: None)  # connects
        while await self._read(has_hidden):  # erasures that were interrupted
            await self._write(lambda connection: sweep(connection, None, _SWEEP_ROWS), deadline)
        return await self.inspect()

    async def close(self) -> None:
        for watching in list(self._watching):
            await watching.close()
        await self._readers.close()
        if self._connection is not None:
            await self._connection.close()

    def abandon(self) -> None:
        for watching in self._watching:
            watching.abandon()
        self._readers.abandon()
        if self._connection is not None:
            self._connection.abandon()

    def _connect(self) -> sqlite3.Connection:
        """The writer's connection, at the first time to a file that may have to be made."""
        with Translated(self._settings.path):
            deadline = time.monotonic() + self._timeout
            if self._opened:
                connection = retry(self._settings.connect_writer, deadline)
            else:
                connection = open_database(self._settings, self._schema, self._turn, deadline)
                self._opened = True
            self._written = written_by(connection)
            return connection

    def _connect_reader(self) -> sqlite3.Connection:
        with Translated(self._settings.path):
            return self._settings.connect_reader()

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.discard()

    # --- writing ------------------------------------------------------------------------------------------

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        return await self._write(lambda connection: self._writer.commit(connection, units), deadline)

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
        if dry_run:
            return Trimmed(await self._read(lambda connection: self._count_picked(connection, agents, pick)))
        trimmed = await self._write(
            lambda connection: trim(connection, self._places(connection, agents), pick, limit), deadline
        )
        if trimmed.removed and not trimmed.more:
            await self._give_back(deadline)
        return trimmed

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        erased = await self._write(lambda connection: self._erase(connection, agent, begin, limit), deadline)
        if not erased.more:
            await self._give_back(deadline)
        return erased

    def _erase(self, connection: sqlite3.Connection, agent: str, begin: bool, limit: int) -> Erased:
        """Counted when it is hidden: the rows may be removed by other processes, when they open."""
        hashed = name_hash(self._namespace, agent)
        place = self._writer.find_agent(connection, agent) if begin else None
        erased = Erased()
        if place is not None:
            self._writer.forget()
            erased = hide(connection, place, hashed)
        return erased._replace(more=sweep(connection, hashed, limit))

    def _places(self, connection: sqlite3.Connection, agents: Sequence[str]) -> list[Place]:
        found = [self._writer.find_agent(connection, agent) for agent in agents]
        return [place for place in found if place is not None]

    async def _give_back(self, deadline: float) -> None:
        """Let the file shrink by the pages that were freed, as far as there is time for it."""
        if not self._settings.auto_vacuum:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + (deadline - loop.time()) / 2
        with suppress(StorageError):  # the next time will do
            while loop.time() < until and await self._read(has_spare_pages):
                await self._write(give_back_pages, until)

    async def _write(self, work: Callable[[sqlite3.Connection], T], deadline: float) -> T:
        if self._connection is None:
            raise StorageClosedError("the engine is not open")
        ends = time.monotonic() + deadline - asyncio.get_running_loop().time()
        return await self._connection.perform(
            lambda connection: self._transactions.run(connection, work, ends)
        )

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
        return await self._read(
            lambda connection: self._reader.log(connection, agent, low, high, reverse, limit, max_bytes, hint)
        )

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        return await self._read(lambda connection: self._reader.count(connection, agent, low, high, hint))

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        return await self._read(lambda connection: self._reader.find(connection, agent, ids))

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        return await self._read(lambda connection: self._reader.documents(connection, agent, kind, keys))

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        return await self._read(
            lambda connection: self._reader.scan_documents(connection, agent, kind, prefix, after, limit)
        )

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        return await self._read(lambda connection: self._reader.agents(connection, prefix, after, limit))

    async def inspect(self) -> Info:
        return await self._read(lambda connection: inspect(connection, self._settings, self._written))

    async def check(self) -> AsyncIterator[Damage]:
        for damage in await self._read(faults):
            yield damage

    async def signals(self) -> AsyncIterator[str | None]:
        """Asks a connection of its own whether anybody has committed; that takes SQLite some microseconds."""
        watching = JobConnection(self._connect_reader)
        self._watching.add(watching)
        seen: tuple[sqlite3.Connection, int] | None = None
        try:
            while True:
                found = await watching.perform(self._data_version)
                if found != seen:
                    seen = found
                    yield None
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await watching.close()
            self._watching.discard(watching)

    def _data_version(self, connection: sqlite3.Connection) -> tuple[sqlite3.Connection, int]:
        with Translated(self._settings.path):
            return connection, pragma(connection, "data_version")

    def _count_picked(
        self, connection: sqlite3.Connection, agents: Sequence[str], pick: RetentionPick
    ) -> int:
        places = [self._reader.place(connection, agent) for agent in agents]
        return count_picked(connection, (place for place in places if place is not None), pick)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._readers.perform(lambda connection: self._read_now(connection, work))

    def _read_now(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        with Translated(self._settings.path):
            try:
                return in_one_view(connection, lambda: work(connection))
            except sqlite3.OperationalError as exc:
                if code_of(exc) == sqlite3.SQLITE_ERROR:  # a table or column is not as we know it
                    self._schema.check(connection, self._settings.path)
                raise
