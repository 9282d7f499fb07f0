"""Iterators over a log: through history by pages, and live.

They are objects, not generators, because a damaged record raises ``CorruptDataError`` out of ``__anext__``
and the iteration may go on after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from oacp_storage_core import HistoryQuery, Interaction, StorageClosedError

from oacp_storage_engine.codec import to_interaction
from oacp_storage_engine.primitives import Hint, Page, Record
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.watch_hub import Subscription

PAGE_RECORDS = 1000
PAGE_BYTES = 4 * 1024 * 1024

_RECHECK = 5.0  # seconds after which a watcher looks even without a signal

RuntimeGetter = Callable[[], Awaitable[Runtime]]


def hint_of(query: HistoryQuery) -> Hint | None:
    """What a store may filter by, or None when only sequence bounds decide."""
    if not query.filtered:
        return None
    return Hint(query.since_us, query.until_us, query.where.terms if query.where is not None else ())


class HistoryIterator:
    """``iter_interactions``: ends at the head seen with the first page."""

    def __init__(self, runtime: RuntimeGetter, agent: str, query: HistoryQuery) -> None:
        self._runtime = runtime
        self._agent = agent
        self._query = query
        self._hint = hint_of(query)
        self._low = query.after
        self._high = query.before
        self._left = query.limit
        self._records: list[Record] = []
        self._position = 0
        self._first_page = True
        self._ended = query.limit == 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Interaction:
        while True:
            if self._left == 0:
                raise StopAsyncIteration
            if self._position == len(self._records):
                if self._ended:
                    raise StopAsyncIteration
                await self._next_page()
                continue
            record = self._records[self._position]
            self._position += 1
            interaction = to_interaction(self._agent, record)
            if self._hint is not None and not self._query.admits(record.at_us, interaction.data):
                continue
            if self._left is not None:
                self._left -= 1
            return interaction

    async def _next_page(self) -> None:
        limit = PAGE_RECORDS
        if self._left is not None and self._hint is None:
            limit = min(limit, self._left)
        runtime = await self._runtime()
        page: Page = await runtime.read(
            lambda: runtime.engine.read_log(
                self._agent,
                self._low,
                self._high,
                reverse=self._query.reverse,
                limit=limit,
                max_bytes=PAGE_BYTES,
                hint=self._hint,
            )
        )
        if self._first_page:
            self._first_page = False
            self._high = page.head + 1 if self._high is None else min(self._high, page.head + 1)
        self._records, self._position = page.records, 0
        if page.next is None:
            self._ended = True
        elif self._query.reverse:
            self._high = page.next
        else:
            self._low = page.next


class WatchIterator:
    """``watch_interactions``: everything after a sequence, then live, always read by sequence."""

    def __init__(self, runtime: RuntimeGetter, agent: str, after: int | None) -> None:
        self._runtime = runtime
        self._agent = agent
        self._cursor = after
        self._records: list[Record] = []
        self._position = 0
        self._heard_in: Runtime | None = None
        self._subscription: Subscription | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Interaction:
        while True:
            runtime = await self._runtime()
            if self._position < len(self._records):
                record = self._records[self._position]
                self._position += 1
                self._cursor = record.sequence
                return to_interaction(self._agent, record)
            subscription = self._subscribe(runtime)
            subscription.ring.clear()  # before the read, so that nothing falls between read and wait
            if not await self._next_page(runtime):
                await _wait(subscription)
                if runtime.hub.closed:
                    raise StorageClosedError("the storage was closed while watching")

    def _subscribe(self, runtime: Runtime) -> Subscription:
        if self._subscription is None or self._heard_in is not runtime:
            self._heard_in = runtime
            self._subscription = runtime.hub.subscribe(self, self._agent)
        return self._subscription

    async def _next_page(self, runtime: Runtime) -> bool:
        """Read on after the cursor; whether there may be more to do before waiting."""
        if self._cursor is None:
            page = await self._read(runtime, 0, limit=0)
            self._cursor = page.head
        page = await self._read(runtime, self._cursor, limit=PAGE_RECORDS)
        self._records, self._position = page.records, 0
        if not page.records and page.next is not None:
            self._cursor = page.next
        return bool(page.records) or page.next is not None

    async def _read(self, runtime: Runtime, low: int, *, limit: int) -> Page:
        return await runtime.read(
            lambda: runtime.engine.read_log(
                self._agent, low, None, reverse=False, limit=limit, max_bytes=PAGE_BYTES
            )
        )


async def _wait(subscription: Subscription) -> None:
    try:
        async with asyncio.timeout(_RECHECK):
            await subscription.ring.wait()
    except TimeoutError:
        pass
