"""The engine's primitives on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from oacp_storage_core import Damage, RetentionPick, StorageConnectionError
from oacp_storage_engine import (
    Doc,
    DocKind,
    Engine,
    Erased,
    Hint,
    Info,
    NotApplied,
    Outcome,
    Page,
    Record,
    Slot,
    Trimmed,
    Unit,
    Unknown,
    pending_upgrades,
)
from oacp_storage_redis.address import Address
from oacp_storage_redis.calls import Calls
from oacp_storage_redis.commits import Commits
from oacp_storage_redis.condition import condition
from oacp_storage_redis.connections import Node
from oacp_storage_redis.consistency import damages
from oacp_storage_redis.deletions import Deletions
from oacp_storage_redis.encoding import document_of, fields_of, records_of
from oacp_storage_redis.layout import BUCKETS, KIND_LETTERS, SCHEMA_VERSION, Layout, bucket_of
from oacp_storage_redis.names import high_bound, low_bound, names_in_order
from oacp_storage_redis.scripts import FIND, OPEN, READ_LOG, SCAN_DOCS, packed
from oacp_storage_redis.signals import signals
from oacp_storage_redis.topology import make_topology

_DOCUMENT_BYTES = 4 * 1024 * 1024  # of documents that one script returns, unless one is larger
_LANES = 2
_OPEN_SECONDS = 1.0
_OPEN_PAUSE = 0.05


class RedisEngine(Engine):
    """One namespace of a server, or of a cluster.

    On a server, a group holds units of any buckets: one script then takes as many as there are. Two lanes let the
    client prepare one group while the server works on another. On a cluster each bucket has a lane of its own.
    """

    max_group_units = 1000

    def __init__(
        self,
        address: Address,
        namespace: str,
        *,
        pool_size: int,
        min_replicas: int,
        connect_timeout: float,
        response_timeout: float,
        keep_receipts: int,
    ) -> None:
        self._layout = Layout(namespace)
        self._min_replicas = min_replicas

        def make_node(name: str, make: Any) -> Node:
            return Node(
                name,
                make,
                limit=pool_size,
                connect_timeout=connect_timeout,
                response_timeout=response_timeout,
            )

        self._topology = make_topology(address, make_node, self._layout)
        self.lanes = BUCKETS if self._topology.clustered else _LANES
        self._calls = Calls(self._topology, min_replicas=min_replicas, response_timeout=response_timeout)
        self._commits = Commits(
            self._calls, self._layout, keep_receipts=keep_receipts, always=min_replicas > 0
        )
        self._deletions = Deletions(self._calls, self._layout, keep_receipts=keep_receipts)

    def lane_of(self, slot: Slot) -> int:
        return bucket_of(slot.name) % self.lanes

    async def open(self) -> Info:
        """A connection that is cut while opening is no absent server, so this is tried again for a moment."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _OPEN_SECONDS
        while True:
            try:
                return await self._open()
            except (NotApplied, Unknown):
                if loop.time() > end:
                    raise
            await asyncio.sleep(_OPEN_PAUSE)

    async def _open(self) -> Info:
        nodes = await self._topology.nodes()
        for node in nodes:
            (role,) = await self._calls.on_node(node, packed([b"ROLE"]), 1)
            if not isinstance(role, Exception) and role[0] != b"master":  # a user may be forbidden to ask
                self._topology.forget()
                raise StorageConnectionError(
                    f"Redis at {node.address} is a replica and takes no writes: connect to the master, or to the "
                    "sentinels (redis+sentinel://)"
                )
        info = await self.inspect()
        await self._check_mark()
        return info

    async def close(self) -> None:
        await self._topology.close()

    def abandon(self) -> None:
        self._topology.abandon()

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        lane = self.lane_of(units[0].slot)
        return await self._commits.commit(attempt, units, lane=lane, deadline=deadline)

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
        bucket = bucket_of(agent)
        if high is not None and high < 1:  # nothing lies below, and Redis takes no such bound
            high, limit = None, 0
        arguments = [
            self._layout.tags[bucket],
            agent.encode(),
            b"%d" % low,
            b"" if high is None else b"%d" % high,
            b"1" if reverse else b"0",
            b"%d" % limit,
            b"%d" % max_bytes,
        ]
        head, more, described, bodies = await self._calls.read(
            bucket, READ_LOG, self._layout.guard(bucket), arguments
        )
        return Page(records_of(described, bodies), int(head), int(more) if more else None)

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        bucket = bucket_of(agent)
        arguments = [self._layout.tags[bucket], agent.encode(), *[name.encode() for name in ids]]
        described, bodies = await self._calls.read(bucket, FIND, self._layout.guard(bucket), arguments)
        return records_of(described, bodies)

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        if low or high is not None or hint is not None:
            return None
        bucket = bucket_of(agent)
        found: int = await self._calls.command(
            bucket, b"XLEN", self._layout.tags[bucket] + b":log:" + agent.encode()
        )
        return found

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        if agent is None:
            return await self._read_system(keys)
        bucket = bucket_of(agent)
        fields = [field for key in keys for field in fields_of(kind, key)]
        stored = await self._calls.command(
            bucket, b"HMGET", self._layout.tags[bucket] + b":documents:" + agent.encode(), *fields
        )
        return [document_of(key, *stored[2 * i : 2 * i + 2]) for i, key in enumerate(keys)]

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        if agent is None:
            return await self._scan_system(prefix, after, limit)
        bucket = bucket_of(agent)
        tag, name = self._layout.tags[bucket], agent.encode()
        found: list[Doc] = []
        while len(found) < limit:
            left = limit - len(found)
            arguments = [
                tag + b":documents:" + name,
                tag + b":keys:" + name,
                KIND_LETTERS[kind],
                low_bound(prefix, after),
                high_bound(prefix),
                b"%d" % left,
                b"%d" % _DOCUMENT_BYTES,
            ]
            page = await self._calls.read(bucket, SCAN_DOCS, self._layout.guard(bucket), arguments)
            if not page:
                break
            keys = [key.decode() for key in page[::3]]
            docs = map(document_of, keys, page[1::3], page[2::3])
            found += [doc for doc in docs if doc is not None]
            after = keys[-1]
        return found

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        return await names_in_order(
            self._calls, self._layout, b":agents", prefix=prefix, after=after, limit=limit
        )

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
        return await self._deletions.trim(
            attempt, agents, pick, dry_run=dry_run, limit=limit, deadline=deadline
        )

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        if not begin:  # the first step leaves nothing
            return Erased()
        return await self._deletions.erase(attempt, agent, deadline=deadline)

    def signals(self) -> AsyncIterator[str | None]:
        return signals(self._topology, self._layout)

    async def inspect(self) -> Info:
        return await condition(
            self._calls,
            await self._topology.nodes(),
            clustered=self._topology.clustered,
            min_replicas=self._min_replicas,
        )

    def check(self) -> AsyncIterator[Damage]:
        return damages(self._calls, self._layout)

    async def _check_mark(self) -> None:
        """Bucket 0 carries the mark from the first opening on, the others from their first write on."""
        keys, version = self._layout.guard(0), b"%d" % SCHEMA_VERSION
        found = int(await self._calls.read(0, OPEN, keys, [version]))
        pending_upgrades("this namespace", found, SCHEMA_VERSION, {})  # refuses every other version

    async def _read_system(self, keys: Sequence[str]) -> list[Doc | None]:
        wanted = []
        for key in keys:
            bucket = bucket_of(key)
            fields = fields_of(DocKind.SYSTEM, key)
            wanted.append((bucket, (b"HMGET", self._layout.tags[bucket] + b":system", *fields)))
        stored = await self._calls.commands(wanted)
        return [document_of(key, *two) for key, two in zip(keys, stored, strict=True)]

    async def _scan_system(self, prefix: str, after: str | None, limit: int) -> list[Doc]:
        found: list[Doc] = []
        while len(found) < limit:
            keys = await names_in_order(
                self._calls,
                self._layout,
                b":system-keys",
                prefix=prefix,
                after=after,
                limit=limit - len(found),
            )
            if not keys:
                break
            for key in keys:
                found += [doc for doc in await self._read_system([key]) if doc is not None]
            after = keys[-1]
        return found
