"""The primitives on the standard library's ``sqlite3``: one connection in its own thread, every call one job.

Replace this file by your store. What each primitive promises stands in ``oacp_storage_engine.Engine``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from oacp_storage_core import RetentionPick, SchemaVersionError, StorageConfigError, StorageError
from oacp_storage_engine import (
    Append,
    Doc,
    DocKind,
    DocRef,
    Engine,
    Erased,
    Hint,
    Info,
    Known,
    NotApplied,
    Outcome,
    Page,
    Plan,
    Record,
    Snapshot,
    Trimmed,
    Unit,
    judge,
    pending_upgrades,
    wanted,
)

from {{ cookiecutter.package }} import tables as sql

T = TypeVar("T")

_NO_BOUND = 2**63 - 1
_BUSY_SECONDS = 10.0
_POLL_SECONDS = 0.05
_left_to_the_parent: list[object] = []
"""What a forked child has of its parent's connections: kept, because collecting one would close it."""


class SQLEngine(Engine):
    """One namespace in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._abandoned = False

    async def open(self) -> Info:
        await self._run(self._connect)
        return await self.inspect()

    async def close(self) -> None:
        await self._run(self._disconnect)
        self._thread.shutdown(wait=False)

    def abandon(self) -> None:
        if self._abandoned:
            return
        self._abandoned = True
        if self._pid != os.getpid():  # a forked child, which has no such thread and must not close
            _left_to_the_parent.append(self._connection)
            return
        # The jobs that are queued end first: one cut off in its transaction would leave the file locked.
        with suppress(RuntimeError):  # closed before
            self._thread.submit(self._disconnect)
        self._thread.shutdown(wait=False)

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        return await self._run(self._commit, units)

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
        return await self._run(self._read_log, agent, low, high, reverse, limit, max_bytes)

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        def job() -> list[Record]:
            return [Record(*row) for name in ids for row in self._db.execute(sql.FIND, (agent, name))]

        return await self._run(job)

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        since, until = (hint.since_us, hint.until_us) if hint else (None, None)
        bounds = (agent, low, _NO_BOUND if high is None else high, since, until)

        def job() -> int:
            counted: int = self._db.execute(sql.COUNT, bounds).fetchone()[0]
            return counted

        return await self._run(job)

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        def job() -> list[Doc | None]:
            found: list[Doc | None] = []
            with self._transaction("BEGIN"):
                for key in keys:
                    row = self._db.execute(sql.READ_DOCUMENT, (agent or "", kind, key)).fetchone()
                    found.append(None if row is None else Doc(*row))
            return found

        return await self._run(job)

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        def job() -> list[Doc]:
            rows = self._db.execute(sql.SCAN_DOCUMENTS, (agent or "", kind, after or "", prefix, limit))
            return [Doc(*row) for row in rows]

        return await self._run(job)

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        def job() -> list[str]:
            return [row[0] for row in self._db.execute(sql.SCAN_AGENTS, (after or "", prefix, limit))]

        return await self._run(job)

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
        return await self._run(self._trim, agents, pick, dry_run, limit)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        # Everything goes in one transaction, so there is never anything left for a later step.
        return await self._run(self._erase, agent) if begin else Erased()

    async def signals(self) -> AsyncIterator[str | None]:
        seen = -1
        while True:
            (version,) = await self._run(lambda: self._db.execute("PRAGMA data_version").fetchone())
            if version != seen:
                seen = version
                yield None
            await asyncio.sleep(_POLL_SECONDS)

    async def inspect(self) -> Info:
        def job() -> Info:
            (version,) = self._db.execute(sql.READ_SCHEMA).fetchone()
            return Info(sqlite3.sqlite_version, version, "power-cut")

        return await self._run(job)

    # --- jobs, which run in the thread --------------------------------------------------------------------

    async def _run(self, job: Callable[..., T], *arguments: object) -> T:
        """Run a job in the connection's thread. It is finished even if whoever asked for it has gone."""
        if self._abandoned:
            raise NotApplied(f"the connection to {self._path} has been given up")
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, self._guarded, job, arguments))

    def _guarded(self, job: Callable[..., T], arguments: tuple[object, ...]) -> T:
        try:
            return job(*arguments)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise NotApplied(f"{self._path} is busy: {exc}") from exc
            raise StorageError(f"{self._path}: {exc}") from exc
        except sqlite3.Error as exc:
            raise StorageError(f"{self._path}: {exc}") from exc

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(f"{self._path} is not open")
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except (OSError, sqlite3.Error) as exc:
            raise StorageConfigError(f"{self._path} cannot be used as a store: {exc}") from exc
        with self._transaction("BEGIN IMMEDIATE"):
            tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            found = self._db.execute(sql.READ_SCHEMA).fetchone()[0] if tables else 0
            for _, step in pending_upgrades(str(self._path), found, sql.SCHEMA_VERSION, {1: sql.SCHEMA}):
                for statement in step:
                    self._db.execute(statement)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._db.execute(begin)
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._transaction("BEGIN IMMEDIATE"):
            (version,) = self._db.execute(sql.READ_SCHEMA).fetchone()
            if version != sql.SCHEMA_VERSION:
                raise SchemaVersionError(f"{self._path} is now at schema version {version}: upgrade this")
            yield

    def _commit(self, units: Sequence[Unit]) -> list[Outcome]:
        with self._writing():
            plan = judge(units, self._snapshot(units))
            self._write(plan)
        return plan.outcomes

    def _snapshot(self, units: Sequence[Unit]) -> Snapshot:
        snapshot = Snapshot()
        want = wanted(units)
        for agent in want.agents:
            row = self._db.execute(sql.READ_HEAD, (agent,)).fetchone()
            row = row or self._db.execute(sql.READ_TOMBSTONE, (_hash(agent),)).fetchone()
            snapshot.heads[agent] = row[0] if row else 0
        for agent, name in want.ids:
            if row := self._db.execute(sql.READ_KNOWN, (agent, name)).fetchone():
                snapshot.records[agent, name] = Known(*row)
        for ref in want.documents:
            if row := self._db.execute(sql.READ_VERSION, _address(ref)).fetchone():
                snapshot.versions[ref] = row[0]
        return snapshot

    def _write(self, plan: Plan) -> None:
        self._db.executemany(sql.WRITE_HEAD, plan.heads.items())
        self._db.executemany(
            sql.WRITE_ROW,
            [(row.agent, row.sequence, *_columns(row.append)) for row in plan.rows],
        )
        for ref, stored in plan.documents.items():
            if stored is None:
                self._db.execute(sql.DELETE_DOCUMENT, _address(ref))
            else:
                put = stored.put
                self._db.execute(
                    sql.WRITE_DOCUMENT, (*_address(ref), stored.version, put.at_us, put.body, put.crc)
                )

    def _read_log(
        self, agent: str, low: int, high: int | None, reverse: bool, limit: int, max_bytes: int
    ) -> Page:
        records: list[Record] = []
        size = 0
        with self._transaction("BEGIN"):
            head = self._db.execute(sql.READ_HEAD, (agent,)).fetchone()
            bounds = (agent, low, _NO_BOUND if high is None else high, limit)
            for row in self._db.execute(sql.READ_LOG[reverse], bounds) if head else ():
                records.append(Record(*row))
                size += len(records[-1].body)
                if size >= max_bytes:
                    break
        partial = bool(records) and (len(records) == limit or size >= max_bytes)
        return Page(records, head[0] if head else 0, records[-1].sequence if partial else None)

    def _trim(self, agents: Sequence[str], pick: RetentionPick, dry_run: bool, limit: int) -> Trimmed:
        removed = 0
        with self._writing():
            for agent in agents:
                criteria = {
                    "agent": agent,
                    "ids": None if pick.ids is None else json.dumps(pick.ids),
                    "before": pick.before_us,
                    "keep": pick.keep_last,
                    "limit": limit - removed,
                }
                if dry_run:
                    removed += self._db.execute(sql.COUNT_PICKED, criteria).fetchone()[0]
                else:
                    removed += self._db.execute(sql.DELETE_PICKED, criteria).rowcount
                if not dry_run and removed >= limit:
                    return Trimmed(removed, more=True)
        return Trimmed(removed)

    def _erase(self, agent: str) -> Erased:
        with self._writing():
            hidden = self._db.execute(sql.HIDE_AGENT, (agent,)).fetchall()
            if not hidden:
                return Erased()
            self._db.execute(sql.WRITE_TOMBSTONE, (_hash(agent), hidden[0][0]))
            return Erased(
                self._db.execute(sql.ERASE_LOG, (agent,)).rowcount,
                self._db.execute(sql.ERASE_DOCUMENTS, (agent, DocKind.STATE)).rowcount,
                self._db.execute(sql.ERASE_DOCUMENTS, (agent, DocKind.LEARNING)).rowcount,
            )


def _address(ref: DocRef) -> tuple[str, str, str]:
    return ref.agent or "", ref.kind, ref.key


def _columns(append: Append) -> tuple[str, int, bytes, int]:
    return append.id, append.at_us, append.body, append.crc


def _hash(agent: str) -> str:
    return hashlib.sha256(agent.encode()).hexdigest()
