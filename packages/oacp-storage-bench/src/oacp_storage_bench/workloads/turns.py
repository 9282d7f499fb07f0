"""W6: ``record_turn`` of four interactions and a state, beside one append of as many bytes."""

from __future__ import annotations

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import callers
from oacp_storage_bench.payloads import KILOBYTE, message
from oacp_storage_bench.subject import AGENTS, Subject
from oacp_storage_bench.workloads.appends import append
from oacp_storage_core import Capability, Turn

MANY = 64
INTERACTIONS = 4
BYTES = (INTERACTIONS + 1) * KILOBYTE


async def cells(subject: Subject) -> list[Cell]:
    """By 64 callers over 20 agents."""
    if not subject.can(Capability.TURN):
        return []
    same = f"append of {BYTES:,} bytes, {MANY} callers"
    turn = f"turn of {INTERACTIONS} interactions and a state, {MANY} callers"
    return [
        subject.ours("W6", "turn.same_bytes", same, _append(subject)),
        subject.ours("W6", "turn", turn, _turn(subject), against=["turn.same_bytes"]),
    ]


def _turn(subject: Subject) -> Measure:
    async def turn(who: int, n: int) -> Turn:
        said = [message(n + number) for number in range(INTERACTIONS)]
        agent = subject.agents[(who + n) % AGENTS]
        return await subject.storage.record_turn(agent, interactions=said, state=message(n))

    return lambda seconds: callers(MANY, seconds, turn)


def _append(subject: Subject) -> Measure:
    return lambda seconds: callers(MANY, seconds, lambda who, n: append(subject, who, n, BYTES))
