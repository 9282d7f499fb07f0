"""The engine's primitives on MongoDB."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from functools import partial

from oacp_storage_core import Damage, RetentionPick
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
from oacp_storage_mongo.address import Address
from oacp_storage_mongo.commits import Commits
from oacp_storage_mongo.condition import check_server, condition
from oacp_storage_mongo.consistency import damages
from oacp_storage_mongo.deletions import Deletions
from oacp_storage_mongo.driver import Driver, make_driver
from oacp_storage_mongo.finishing import Finishing
from oacp_storage_mongo.heads import Heads
from oacp_storage_mongo.reading import Reading
from oacp_storage_mongo.schema import prepare
from oacp_storage_mongo.signals import signals
from oacp_storage_mongo.store import Store
from oacp_storage_mongo.turns import Turns

_FURTHER = 6  # connections beside those for reads
_OPEN_SECONDS = 1.0  # that an opening takes for what interrupted deletions left; the rest goes on beside it


class MongoEngine(Engine):
    """One namespace of a database. One lane: larger groups gain more than a second group under way would."""

    max_group_units = 1000

    def __init__(self, address: Address, namespace: str, *, pool_size: int) -> None:
        self._address = address
        self._namespace = namespace
        self._pool_size = pool_size
        self._driver: Driver | None = None
        self._turns: Turns | None = None
        self._finishing = Finishing()

    async def open(self) -> Info:
        return await self._finishing.read(self._open)

    async def _open(self) -> Info:
        # Commits, deletions and a watcher have connections of their own.
        settings = {**self._address.settings, "maxPoolSize": self._pool_size + _FURTHER}
        self._driver = make_driver(self._address.driver, self._address.url, self._address.database, settings)
        store = self._store = Store(
            self._driver, self._namespace, pool_size=self._pool_size, finishing=self._finishing
        )
        heads = Heads()
        turns = self._turns = Turns(store)
        self._commits = Commits(store, heads, turns)
        self._deletions = Deletions(store, heads)
        self._reading = Reading(store)
        await check_server(store)
        self._driver.connected()
        await prepare(store)
        if await self._deletions.complete(asyncio.get_running_loop().time() + _OPEN_SECONDS):
            self._finishing.leave(self._complete)
        return await condition(store)

    async def _complete(self) -> None:
        await self._deletions.complete(math.inf)

    async def close(self) -> None:
        if self._turns is not None:
            self._turns.end()
        await self._finishing.ended()
        if self._driver is not None:
            await self._driver.close()

    def abandon(self) -> None:
        if self._turns is not None:
            self._turns.forget()
        if self._driver is not None:
            self._driver.abandon()

    async def commit(self, attempt: str, units: Sequence[Unit], *, deadline: float) -> list[Outcome]:
        outcomes = await self._finishing.write(partial(self._commits.commit, attempt, units), deadline)
        self._commits.answered()
        return outcomes

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
        work = partial(self._reading.read_log, reverse=reverse, limit=limit, max_bytes=max_bytes, hint=hint)
        return await self._finishing.read(partial(work, agent, low, high))

    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        return await self._finishing.read(partial(self._reading.find, agent, ids))

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        return await self._finishing.read(partial(self._reading.count, agent, low, high, hint))

    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        return await self._finishing.read(partial(self._reading.read_docs, agent, kind, keys))

    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        work = partial(self._reading.scan_docs, prefix=prefix, after=after, limit=limit)
        return await self._finishing.read(partial(work, agent, kind))

    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        work = partial(self._reading.scan_agents, prefix=prefix, after=after, limit=limit)
        return await self._finishing.read(work)

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
            return Trimmed(await self._finishing.read(partial(self._deletions.count, agents, pick)))
        work = partial(self._deletions.trim, attempt, agents, pick, limit=limit)
        return await self._finishing.write(work, deadline)

    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        work = partial(self._deletions.erase, attempt, agent, begin=begin, limit=limit)
        return await self._finishing.write(work, deadline)

    def signals(self) -> AsyncIterator[str | None]:
        return signals(self._store)

    async def inspect(self) -> Info:
        return await self._finishing.read(partial(condition, self._store))

    def check(self) -> AsyncIterator[Damage]:
        return damages(self._store)
