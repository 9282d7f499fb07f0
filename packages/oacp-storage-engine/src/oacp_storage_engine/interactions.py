"""Interactions: storing and reading the logs of agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from oacp_storage_core import Interaction, Storage, Where
from oacp_storage_core.arguments import (
    check_body,
    check_history,
    check_limit,
    new_interactions,
)
from oacp_storage_core.ids import new_id
from oacp_storage_core.names import check_name
from oacp_storage_core.times import now_us, to_us
from oacp_storage_engine.checksum import interaction_crc
from oacp_storage_engine.codec import to_interaction
from oacp_storage_engine.log_iterators import (
    COUNTED,
    LISTED,
    STREAMED,
    HistoryIterator,
    WatchIterator,
    hint_of,
)
from oacp_storage_engine.primitives import Append, Applied, Unit
from oacp_storage_engine.writing import Writing, appends_of


class Interactions(Writing, Storage):
    """The part of ``EngineStorage`` that deals in interactions, except their deletion."""

    async def store_interaction(
        self,
        agent_id: str,
        interaction: dict[str, Any],
        *,
        interaction_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        agent = check_name(agent_id)
        given = interaction_id is not None
        with self._call() as runtime:
            deadline = runtime.deadline()
            lane = runtime.free_lane(agent)
            if lane is None:
                lane = await runtime.enter_lane(True, agent, deadline)
            body = check_body(interaction, self._coerce)
            name = new_id() if interaction_id is None else check_name(interaction_id, "interaction id")
            at_us = now_us() if timestamp is None else to_us(timestamp)
            append = Append(name, given, at_us, body, interaction_crc(agent, name, at_us, body))
            unit = Unit(agent, (append,))
            outcome = await lane.submit(unit, len(body), deadline)
        if not isinstance(outcome, Applied):
            raise self._refusal(unit, outcome)
        return name

    async def store_interactions(
        self, agent_id: str, interactions: Sequence[Mapping[str, Any] | Interaction]
    ) -> list[str]:
        agent = check_name(agent_id)
        appends, size = appends_of(agent, new_interactions(agent, interactions, coerce=self._coerce))
        with self._call() as runtime:
            if appends:
                await self._write(runtime, Unit(agent, appends), size)
        return [append.id for append in appends]

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        agent = check_name(agent_id)
        query = check_history(reverse=True, limit=check_limit(limit))
        with self._call() as runtime:
            history = HistoryIterator(lambda: runtime, agent, query, LISTED)
            newest_first = [interaction.data async for interaction in history]
        return newest_first[::-1]

    def iter_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[Interaction]:
        query = check_history(after, before, since, until, where, reverse, limit)
        return HistoryIterator(self._call, check_name(agent_id), query, STREAMED)

    async def get_interaction(self, agent_id: str, interaction_id: str) -> Interaction | None:
        agent = check_name(agent_id)
        wanted = check_name(interaction_id, "interaction id")
        with self._call() as runtime:
            found = await runtime.read(lambda: runtime.engine.find(agent, [wanted]))
        return to_interaction(agent, found[0]) if found else None

    async def count_interactions(
        self,
        agent_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Where | None = None,
    ) -> int:
        agent = check_name(agent_id)
        query = check_history(after, before, since, until, where)
        with self._call() as runtime:
            if query.where is None:
                counted = await runtime.read(
                    lambda: runtime.engine.count(agent, query.after, query.before, hint_of(query))
                )
                if counted is not None:
                    return counted
            count = 0
            async for _ in HistoryIterator(lambda: runtime, agent, query, COUNTED):
                count += 1
            return count

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        cursor = None if after is None else check_limit(after, "after")
        return WatchIterator(self._call, check_name(agent_id), cursor)
