"""The streams of ``MemoryStorage``: classes, so that an error or a cancelled step does not end them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

from oacp_storage_core.arguments import HistoryQuery
from oacp_storage_core.memory_store import LOCK, Bell, Namespace
from oacp_storage_core.records import Interaction

UseData = Callable[[], AbstractContextManager[Namespace]]
"""Gives access to the data, or raises because the storage cannot be used (any more)."""

_PAGE = 100


class HistoryIterator(AsyncIterator[Interaction]):
    """The interactions of an agent that a query asks for, up to the head seen at the first step."""

    def __init__(self, use_data: UseData, agent_id: str, query: HistoryQuery) -> None:
        self._use_data = use_data
        self._agent_id = agent_id
        self._query = query
        self._after = query.after
        self._before = query.before
        self._head: int | None = None
        self._yielded = 0
        self._steps = 0

    async def __anext__(self) -> Interaction:
        if self._steps % _PAGE == 0:  # as at the pages of any other store, other tasks get their turn
            await asyncio.sleep(0)
        self._steps += 1
        query = self._query
        with self._use_data() as data:
            log = data.look(self._agent_id).log
            if self._head is None:
                self._head = log.head
                self._before = self._head + 1 if query.before is None else min(query.before, self._head + 1)
            while query.limit is None or self._yielded < query.limit:
                indexes = log.between(self._after, self._before)
                if not indexes:
                    break
                record = log.records[indexes[-1] if query.reverse else indexes[0]]
                if query.reverse:
                    self._before = record.sequence
                else:
                    self._after = record.sequence
                interaction = log.read(record)
                if query.admits(record.at_us, interaction.data):
                    self._yielded += 1
                    return interaction
        raise StopAsyncIteration


class WatchIterator(AsyncIterator[Interaction]):
    """The interactions of an agent after a sequence (None: the head at the first step), then live."""

    def __init__(self, use_data: UseData, agent_id: str, after: int | None) -> None:
        self._use_data = use_data
        self._agent_id = agent_id
        self._after = after

    async def __anext__(self) -> Interaction:
        await asyncio.sleep(0)  # first, because nothing may interrupt between reading and returning
        while True:
            bell = Bell()
            with self._use_data() as data:
                log = data.look(self._agent_id).log
                if self._after is None:
                    self._after = log.head
                if indexes := log.between(self._after, None):
                    record = log.records[indexes[0]]
                    self._after = record.sequence
                    return log.read(record)
                data.bells[bell] = self._agent_id  # in the same step: what is stored from now on rings it
            try:
                await bell.wait()
            finally:
                with LOCK:
                    del data.bells[bell]
