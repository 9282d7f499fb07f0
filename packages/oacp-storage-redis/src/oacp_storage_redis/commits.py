"""Group commits: the units of one lane, in scripts of bounded size, each applied once per attempt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from oacp_storage_core import OutcomeUnknownError, StorageError
from oacp_storage_engine import NotApplied, Outcome, Unit, Unknown
from oacp_storage_redis.calls import Calls
from oacp_storage_redis.encoding import outcomes_of, unit_arguments
from oacp_storage_redis.layout import SCHEMA_VERSION, Layout
from oacp_storage_redis.scripts import COMMIT

MAX_ITEMS = 20_000
"""A script takes at most so many appends and puts, unless one unit alone has more: a server does nothing else
meanwhile."""


@dataclass
class _Lane:
    """What a lane is at: the units of its attempt, and how far they got.

    ``number`` counts its scripts. It is kept from one attempt to the next, so that the server can tell an earlier
    one that arrives late.
    """

    attempt: str = ""
    units: Sequence[Unit] = ()
    outcomes: list[Outcome] = field(default_factory=list)
    number: int = 1
    uncertain: bool = False


class Commits:
    """The commits of one engine. ``lane`` is that of ``Engine.lane_of``: there is one commit in each at a time.

    One receipt a lane is enough: a lane begins a new attempt only when the last one was settled or given up, and the
    server refuses those that come later than their successor. It is kept in the bucket with the lane's number, which
    on a cluster, where each bucket has a lane of its own, is the bucket that is written to.
    """

    def __init__(self, calls: Calls, layout: Layout, *, keep_receipts: int, always: bool) -> None:
        self._calls = calls
        self._layout = layout
        self._session = os.urandom(8).hex()
        self._lanes: dict[int, _Lane] = {}
        self._start = [
            b"%d" % SCHEMA_VERSION,
            b"%d" % keep_receipts,
            b"",
            b"1" if always else b"0",
            layout.channel,
            layout.tag_start,
        ]

    async def commit(
        self, attempt: str, units: Sequence[Unit], *, lane: int, deadline: float
    ) -> list[Outcome]:
        """Apply the units, which all belong to this lane."""
        state = self._lanes.setdefault(lane, _Lane())
        if state.attempt != attempt or state.units != units:
            # The number of a script that may still arrive is never used again.
            number = state.number + 1 if state.uncertain else state.number
            state = self._lanes[lane] = _Lane(attempt, units, number=number)
        try:
            while len(state.outcomes) < len(units):
                await self._next_script(state, lane, deadline)
        except Unknown:
            raise
        except NotApplied as exc:
            if state.outcomes or state.uncertain:
                raise Unknown(str(exc)) from exc
            raise
        except StorageError as exc:
            if state.outcomes:
                raise OutcomeUnknownError(
                    f"the first {len(state.outcomes)} writes of a group were applied, and then: {exc}"
                ) from exc
            raise
        state.units = ()  # which may be large
        return state.outcomes

    async def _next_script(self, state: _Lane, lane: int, deadline: float) -> None:
        packed: list[bytes] = []
        count = items = 0
        for unit in state.units[len(state.outcomes) :]:
            items += len(unit.appends) + len(unit.puts)
            if count and items > MAX_ITEMS:
                break
            packed += unit_arguments(unit)
            count += 1
        arguments = [*self._start, b"%d" % count, *packed]
        arguments[2] = b"%d" % state.number
        keys = self._layout.guard(lane, self._layout.receipt(lane, self._session))
        uncertain, state.uncertain = state.uncertain, True
        try:
            answer = await self._calls.write(lane, COMMIT, keys, arguments, deadline=deadline, urgent=True)
        except Unknown:
            raise
        except StorageError:
            state.uncertain = uncertain  # this sending changed nothing, an earlier one may have
            raise
        state.uncertain = False
        state.number += 1
        state.outcomes += outcomes_of(answer)
