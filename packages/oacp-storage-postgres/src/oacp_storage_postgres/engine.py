"""The engine's primitives on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

from oacp_storage_core import Damage, Durability, RetentionPick
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
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.commits import (
    COPIED,
    copied_rows,
    group_arguments,
    is_plain,
    numbers_of,
    outcomes_of,
    write_arguments,
)
from oacp_storage_postgres.connections import Connections
from oacp_storage_postgres.document_reads import DocumentReads
from oacp_storage_postgres.errors import AppliedBefore, MissingPartition
from oacp_storage_postgres.notifications import Notifications
from oacp_storage_postgres.prefixes import after_prefix
from oacp_storage_postgres.pushdown import conditions
from oacp_storage_postgres.replica import Replica, ReplicaAwayError
from oacp_storage_postgres.schema import SCHEMA_VERSION, prepare
from oacp_storage_postgres.staleness import stale_reads_allowed
from oacp_storage_postgres.upkeep import Upkeep

T = TypeVar("T")

_NO_BOUND = 2**63 - 1
_COPIED_FROM = 500  # interactions in a group: fewer are not worth the round trips of a COPY
_ERASE_STEP = 10_000
_ERASE_SECONDS = 60.0


class PostgresEngine(Engine):
    """One namespace of a database; ``replica`` is where reads that may be stale go."""

    lanes = 2

    def __init__(
        self,
        connections: Connections,
        replica: Replica | None,
        namespace: str,
        *,
        json_indexing: bool,
        partition: bool,
        listen: bool,
    ) -> None:
        self._connections = connections
        self._replica = replica
        self._namespace = namespace
        self._json_indexing = json_indexing
        self._partition = partition
        self._partitioned = partition
        self._document_reads = DocumentReads(connections, namespace)
        self._notifications = Notifications(connections, namespace, listen=listen)
        self._upkeep: Upkeep | None = None

    async def open(self) -> Info:
        await self._connections.open()
        if self._replica is not None:
            self._replica.open()
        self._upkeep = Upkeep(self._connections)
        async with self._connections.reading() as connection:
            await prepare(connection, json_indexing=self._json_indexing, partition=self._partition)
            self._partitioned = await connection.fetchval(sql.IS_PARTITIONED)
            if await connection.fetchval(sql.IS_READ_ONLY):  # a standby, say: it can be read
                return await self.inspect()
            await self._upkeep.do_on(connection)
            pending = await connection.fetch(sql.PENDING_ERASURES, self._namespace)
        for row in pending:
            deadline = asyncio.get_running_loop().time() + _ERASE_SECONDS
            while (await self._erase_step(None, row["agent_id"], False, _ERASE_STEP, deadline)).more:
                pass
        return await self.inspect()

    async def close(self) -> None:
        await self._notifications.close()
        if self._upkeep is not None:
            await self._upkeep.close()
        await self._connections.close()
        if self._replica is not None:
            await self._replica.close()

    def abandon(self) -> None:
        self._connections.abandon()
        if self._replica is not None:
            self._replica.abandon()
        self._notifications.forget()

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        stored: list[int] = []
        if is_plain(units):
            with contextlib.suppress(AppliedBefore):  # the other function reads the receipt
                if sum([len(unit.appends) for unit in units]) >= _COPIED_FROM:
                    stored = await self._copy(deadline, attempt, units)
                else:
                    stored = await self._write(deadline, sql.WRITE_GROUP, attempt, *write_arguments(units))
        if not stored:
            stored = await self._write(deadline, sql.COMMIT_GROUP, attempt, *group_arguments(units))
        self._notifications.announce({unit.agent for unit in units if unit.agent and unit.appends})
        return outcomes_of(stored, units)

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
        filtering, arguments = conditions(hint, 7, indexed=self._json_indexing)
        statement = sql.read_log(reverse=reverse, conditions=filtering)
        bound = _NO_BOUND if high is None else high
        rows = await self._read(
            statement, agent, self._namespace, low, bound, limit, max_bytes, *arguments, stale=True
        )
        if not rows:
            return Page([], 0)
        head: int = rows[0]["head"]
        rows = [row for row in rows if row["sequence"] is not None]
        records = [_sized(_record(row), row["size"]) for row in rows]
        size = sum(max(row["size"], 0) for row in rows)  # what the server counted, be it damaged
        partial = bool(records) and (len(records) == limit or size >= max_bytes)
        return Page(records, head, records[-1].sequence if partial else None)

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        rows = await self._read(sql.FIND, agent, self._namespace, list(ids), stale=True)
        return [_record(row) for row in rows]

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        filtering, arguments = conditions(hint, 5, indexed=False)
        bound = _NO_BOUND if high is None else high
        statement = sql.count_log(filtering)
        rows = await self._read(statement, agent, self._namespace, low, bound, *arguments, stale=True)
        return int(rows[0][0])

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        # Never stale: it is what compare-and-set builds on.
        if agent is None:
            rows = await self._read(sql.READ_SYSTEM_STATE, self._namespace, list(keys))
            found = {row["key"]: row for row in rows}
        else:
            found = await self._document_reads.read(agent, kind, keys)
        return [_document(found[key]) if key in found else None for key in keys]

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        bounds = prefix, after_prefix(prefix), after or "", limit
        if agent is None:
            rows = await self._read(sql.SCAN_SYSTEM_STATE, self._namespace, *bounds, stale=True)
        else:
            rows = await self._read(sql.SCAN_DOCUMENTS, agent, self._namespace, kind, *bounds, stale=True)
        return [_document(row) for row in rows]

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        bounds = prefix, after_prefix(prefix), after or "", limit
        rows = await self._read(sql.SCAN_AGENTS, self._namespace, *bounds, stale=True)
        return [row["agent_id"] for row in rows]

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
        ids = None if pick.ids is None else list(pick.ids)
        criteria = list(agents), ids, pick.before_us, pick.keep_last
        if dry_run:
            async with self._connections.reading() as connection:
                return Trimmed(await connection.fetchval(sql.COUNT_PICKED, self._namespace, *criteria))
        removed, more = await self._write(deadline, sql.TRIM_STEP, attempt, *criteria, limit)
        return Trimmed(removed, bool(more))

    async def drop_covered(self, attempt: str, pick: RetentionPick, *, deadline: float) -> int:
        only_before = pick.ids is None and pick.keep_last is None and pick.before_us is not None
        if not (only_before and self._partitioned):
            return 0
        (dropped,) = await self._write(deadline, sql.DROP_COVERED, attempt, pick.before_us)
        return int(dropped)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        return await self._erase_step(attempt, agent, begin, limit, deadline)

    async def _erase_step(
        self, attempt: str | None, agent: str, begin: bool, limit: int, deadline: float
    ) -> Erased:
        interactions, states, learning, more = await self._write(
            deadline, sql.ERASE_STEP, attempt, agent, begin, limit
        )
        return Erased(interactions, states, learning, bool(more))

    def signals(self) -> AsyncIterator[str | None]:
        return self._notifications.signals()

    async def inspect(self) -> Info:
        async with self._connections.reading() as connection:
            row = await connection.fetchrow(sql.SETTINGS)
        durability: Durability = "power-cut"
        warnings = []
        if row["fsync"] != "on" or row["full_page_writes"] != "on":
            durability = "crash"
            warnings.append(
                "fsync or full_page_writes is off on the server: a power cut may lose or corrupt data"
            )
        if row["in_recovery"]:
            warnings.append("the server is a standby: it takes no writes")
        return Info(row["version"], row["schema_version"], durability, tuple(warnings))

    async def check(self) -> AsyncIterator[Damage]:
        """Agents whose row was lost, so that no list names them any more, while what they stored is there."""
        async with self._connections.reading() as connection:
            logs = await connection.fetch(sql.LEFT_OVER_INTERACTIONS, self._namespace)
            documents = await connection.fetch(sql.LEFT_OVER_DOCUMENTS, self._namespace)
        for row in logs:
            reason = f"interactions from sequence {row['at']} on belong to no row of oacp.agents"
            yield Damage("interaction", reason, row["agent_id"], row["at"])
        for row in documents:
            kind, _, key = row["at"].partition(" ")
            reason = f"documents from {row['at']!r} on belong to no row of oacp.agents"
            yield Damage(
                "agent_state" if kind == DocKind.STATE else "learning_data",
                reason,
                row["agent_id"],
                None,
                key,
            )

    async def _read(self, statement: str, *arguments: Any, stale: bool = False) -> list[Any]:
        """The rows of a statement; where it may be ``stale`` and the caller allowed it, from the replica."""
        if stale and self._replica is not None and stale_reads_allowed():
            with contextlib.suppress(ReplicaAwayError):  # the primary knows as much, and more
                return await self._replica.read(statement, *arguments)
        async with self._connections.reading() as connection:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows

    async def _copy(self, deadline: float, attempt: str, units: Sequence[Unit]) -> list[int]:
        """As ``write_group``, but the interactions are streamed into the table, which many of them pay for."""

        async def steps(connection: Any) -> list[int]:
            arguments = write_arguments(units, copying=True)
            stored = numbers_of(
                await connection.fetchval(
                    sql.WRITE_GROUP, SCHEMA_VERSION, self._namespace, attempt, *arguments
                )
            )
            if stored:
                await connection.copy_records_to_table(
                    "interactions",
                    schema_name="oacp",
                    columns=COPIED,
                    records=copied_rows(self._namespace, units, stored),
                )
            return stored

        return await self._written(deadline, self._connections.write_in_steps(deadline, steps))

    async def _write(self, deadline: float, statement: str, *arguments: Any) -> list[int]:
        """Call one of the functions that write; each takes the schema version and the namespace first. [] is NULL."""
        writing = self._connections.write(deadline, statement, SCHEMA_VERSION, self._namespace, *arguments)
        return numbers_of(await self._written(deadline, writing))

    async def _written(self, deadline: float, writing: Awaitable[T]) -> T:
        """What the writing returns; upkeep is begun after it when that is due, and what it lacks is made."""
        try:
            stored = await writing
        except MissingPartition:
            await self._connections.write(deadline, sql.CREATE_PARTITIONS)
            raise
        if self._upkeep is not None:
            self._upkeep.do_if_due()
        return stored


def _record(row: Any) -> Record:
    return Record(row["sequence"], row["id"], row["at_us"], row["body"].encode(), row["crc"])


def _sized(record: Record, size: int) -> Record:
    """The record, damaged if its stored size, which no checksum covers, is not that of its body."""
    if size == len(record.body):
        return record
    return record._replace(damage=f"its size is stored as {size} bytes, but it has {len(record.body)}")


def _document(row: Any) -> Doc:
    return Doc(row["key"], row["version"], row["at_us"], row["body"].encode(), row["crc"])
