"""Iterators over a log: through history by pages, and live.

They are objects, not generators, because an error, a damaged record for example, comes out of one ``__anext__``
and the iteration may go on after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from oacp_storage_core import HistoryQuery, Interaction
from oacp_storage_engine.codec import out_of_place, to_interaction
from oacp_storage_engine.primitives import Hint, Page, Record
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.watch_hub import Subscription


class PageSize(NamedTuple):
    """What is read at once: at most so many records, and about so many bytes of bodies."""

    records: int
    bytes: int


STREAMED = PageSize(1000, 4 * 1024 * 1024)
COUNTED = PageSize(20_000, 4 * 1024 * 1024)
LISTED = PageSize(20_000, 32 * 1024 * 1024)  # as much as one call may store: read in one consistent view

_RECHECK = 5.0  # seconds after which a watcher looks even without a signal

RuntimeGetter = Callable[[], Runtime]


def hint_of(query: HistoryQuery) -> Hint | None:
    """What a store may filter by, or None when only sequence bounds decide."""
    if not query.filtered:
        return None
    return Hint(query.since_us, query.until_us, query.where.terms if query.where is not None else ())


class HistoryIterator(AsyncIterator[Interaction]):
    """``iter_interactions``: ends at the head seen with the first page."""

    def __init__(self, runtime: RuntimeGetter, agent: str, query: HistoryQuery, page_size: PageSize) -> None:
        self._runtime = runtime
        self._page_size = page_size
        self._agent = agent
        self._query = query
        self._hint = hint_of(query)
        self._low = query.after
        self._high = query.before
        self._left = query.limit
        self._records: list[Record] = []
        self._position = 0
        self._passed = query.before if query.reverse else query.after
        self._first_page = True
        self._ended = query.limit == 0

    async def __anext__(self) -> Interaction:
        while True:
            if self._left == 0:
                raise StopAsyncIteration
            if self._position == len(self._records):
                if self._ended:
                    raise StopAsyncIteration
                await self._next_page()
                continue
            if self._position and not self._position % STREAMED.records:
                await asyncio.sleep(0)  # between decoding so many, other tasks get their turn
            record = self._records[self._position]
            self._position += 1
            self._pass(record.sequence)
            interaction = to_interaction(self._agent, record)
            if self._hint is not None and not self._query.admits(record.at_us, interaction.data):
                continue
            if self._left is not None:
                self._left -= 1
            return interaction

    def _pass(self, sequence: int) -> None:
        """Note where we are; what a damaged store gives twice or out of order is not taken for the log."""
        passed = self._passed
        if passed is not None and (sequence >= passed if self._query.reverse else sequence <= passed):
            raise out_of_place(self._agent, sequence)
        self._passed = sequence

    async def _next_page(self) -> None:
        limit = self._page_size.records
        if self._left is not None and self._hint is None:
            limit = min(limit, self._left)
        with self._runtime() as runtime:
            page = await runtime.read(
                lambda: runtime.engine.read_log(
                    self._agent,
                    self._low,
                    self._high,
                    reverse=self._query.reverse,
                    limit=limit,
                    max_bytes=self._page_size.bytes,
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


class WatchIterator(AsyncIterator[Interaction]):
    """``watch_interactions``: everything after a sequence, then live, always read by sequence."""

    def __init__(self, runtime: RuntimeGetter, agent: str, after: int | None) -> None:
        self._runtime = runtime
        self._agent = agent
        self._cursor = after
        self._records: list[Record] = []
        self._position = 0
        self._subscription: Subscription | None = None

    async def __anext__(self) -> Interaction:
        while True:
            with self._runtime() as runtime:
                if self._position < len(self._records):
                    record = self._records[self._position]
                    self._position += 1
                    if self._cursor is not None and record.sequence <= self._cursor:
                        raise out_of_place(self._agent, record.sequence)
                    self._cursor = record.sequence
                    return to_interaction(self._agent, record)
                await runtime.opened()
                subscription = self._subscribe(runtime)
                subscription.clear()
                found = await self._next_page(runtime)
            if not found:
                await subscription.wait(_RECHECK)

    def _subscribe(self, runtime: Runtime) -> Subscription:
        if self._subscription is None or self._subscription.hub is not runtime.hub:
            if self._subscription is not None:
                self._subscription.release()
            self._subscription = runtime.hub.subscribe(self, self._agent)
        runtime.hub.listen()
        return self._subscription

    async def _next_page(self, runtime: Runtime) -> bool:
        """Read on after the cursor; whether there may be more to do before waiting."""
        if self._cursor is None:
            page = await self._read(runtime, 0, limit=0)
            self._cursor = page.head
        page = await self._read(runtime, self._cursor, limit=STREAMED.records)
        self._records, self._position = page.records, 0
        if not page.records and page.next is not None:
            self._cursor = page.next
        return bool(page.records) or page.next is not None

    async def _read(self, runtime: Runtime, low: int, *, limit: int) -> Page:
        return await runtime.read(
            lambda: runtime.engine.read_log(
                self._agent, low, None, reverse=False, limit=limit, max_bytes=STREAMED.bytes
            )
        )
