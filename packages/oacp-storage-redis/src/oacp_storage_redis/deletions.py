"""Retention and the deletion of agents: scripts of bounded size, each with a receipt of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from oacp_storage_core import RetentionPick
from oacp_storage_engine import Erased, NotApplied, Trimmed, Unknown
from oacp_storage_redis.calls import Calls
from oacp_storage_redis.layout import SCHEMA_VERSION, Layout, bucket_of
from oacp_storage_redis.scripts import ERASE, TRIM, Script

_STEP = 1000  # interactions that go in one script
_IDS = 500  # ids looked up in one script
_LOOK_BYTES = 2 * 1024 * 1024  # of bodies that one script passes by
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class Deletions:
    """The deletions of one engine."""

    def __init__(self, calls: Calls, layout: Layout, *, keep_receipts: int) -> None:
        self._calls = calls
        self._layout = layout
        self._start = [b"%d" % SCHEMA_VERSION, b"%d" % keep_receipts]

    async def erase(self, attempt: str, agent: str, *, deadline: float) -> Erased:
        """Delete the agent in one step, whose work does not grow with what the agent has."""
        counts = await self._surely(ERASE, attempt, agent, [], deadline)
        interactions, states, learning = counts
        return Erased(interactions, states, learning)

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
        """As ``Engine.trim``. What an earlier step of this call removed is counted whatever happens to the next."""
        removed = scripts = 0
        loop = asyncio.get_running_loop()
        for agent in agents:
            after, kept, queue = b"0", 0, _id_parts(pick)
            while queue:
                left = limit - removed
                if not dry_run and (left <= 0 or (removed and loop.time() > deadline - 2.0)):
                    return Trimmed(removed, more=True)
                step = min(_STEP, left) if not dry_run else _STEP
                arguments = [
                    b"1" if dry_run else b"0",
                    after,
                    b"%d" % kept,
                    b"" if pick.before_us is None else b"%d" % pick.before_us,
                    b"" if pick.keep_last is None else b"%d" % pick.keep_last,
                    b"%d" % step,
                    b"%d" % _LOOK_BYTES,
                    *queue[0],
                ]
                scripts += 1
                count, after, kept = await self._surely(
                    TRIM, f"{attempt}:{scripts}", agent, arguments, deadline, counted=removed > 0
                )
                removed += count
                if not after:
                    queue.pop(0)
                    after, kept = b"0", 0
        return Trimmed(removed)

    async def _surely(
        self,
        script: Script,
        receipt: str,
        agent: str,
        arguments: list[bytes],
        deadline: float,
        *,
        counted: bool = False,
    ) -> Any:
        """Run a script once, sending it again under its receipt until the deadline.

        ``counted`` when earlier scripts of the same call removed something already: then it is no longer true that
        nothing was changed.
        """
        bucket = bucket_of(agent)
        keys = self._layout.guard(bucket, self._layout.receipt(bucket, receipt))
        full = [*self._start, self._layout.tags[bucket], agent.encode(), *arguments]
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._calls.write(bucket, script, keys, full, deadline=deadline)
            except (NotApplied, Unknown) as exc:
                counted = counted or isinstance(exc, Unknown)
                if asyncio.get_running_loop().time() + pause >= deadline:
                    raise (Unknown if counted else NotApplied)(str(exc)) from exc
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _id_parts(pick: RetentionPick) -> list[list[bytes]]:
    """What each script is told of ids: to look up some of them, or to walk over the log.

    Where the newest are counted too, the log is walked, and ids only limit what goes.
    """
    if pick.ids is None:
        return [[b"walk"]]
    ids = [name.encode() for name in pick.ids]
    if pick.keep_last is not None:
        return [[b"walk", *ids]] if ids else []
    return [[b"ids", *ids[i : i + _IDS]] for i in range(0, len(ids), _IDS)]
