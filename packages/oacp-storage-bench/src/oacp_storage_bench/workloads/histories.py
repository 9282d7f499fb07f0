"""W3 and W5: the last 100 and appends, of agents with short and with very long histories, all in the same store."""

from __future__ import annotations

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import callers
from oacp_storage_bench.payloads import message
from oacp_storage_bench.raw import Raw
from oacp_storage_bench.subject import Subject
from oacp_storage_core import Capability

MANY = 64
NEWEST = 100
_STEP = 10_000


async def cells(subject: Subject) -> list[Cell]:
    """Reads by one caller, appends by 64 to that one agent."""
    if not subject.can(Capability.BATCH_APPEND):
        return []
    made = []
    raws = [raw for raw in subject.raws if raw.reads_logs and not raw.only_single]
    for raw in raws:
        agent = subject.target.agent("history")
        await raw.bulk([(agent, message(n)) for n in range(1_000)])
        what = f"last {NEWEST} of 1,000"
        made.append(subject.of_raw(raw, "W3", "last100", what, _raw_last(raw, agent)))
    against = [cell.row.key for cell in made]
    for length in subject.profile.histories:
        agent = history_agent(subject, length)
        await _grow(subject, agent, length)
        if length:
            what = f"last {NEWEST} of {length:,}"
            made.append(subject.ours("W3", f"last100.{length}", what, _last(subject, agent), against=against))
    for length in subject.profile.histories:
        agent = history_agent(subject, length)
        what = f"append to {length:,}, {MANY} callers"
        made.append(subject.ours("W5", f"append.history.{length}", what, _append(subject, agent)))
    return made


def history_agent(subject: Subject, length: int) -> str:
    """The agent whose history began with so many."""
    return subject.target.agent(f"history-{length}")


async def _grow(subject: Subject, agent: str, length: int) -> None:
    for start in range(0, length, _STEP):
        batch = [message(n) for n in range(start, min(start + _STEP, length))]
        await subject.storage.store_interactions(agent, batch)


def _last(subject: Subject, agent: str) -> Measure:
    get = subject.storage.get_interactions
    return lambda seconds: callers(1, seconds, lambda _, _n: get(agent, NEWEST))


def _append(subject: Subject, agent: str) -> Measure:
    store = subject.storage.store_interaction
    return lambda seconds: callers(MANY, seconds, lambda _, n: store(agent, message(n)))


def _raw_last(raw: Raw, agent: str) -> Measure:
    return lambda seconds: callers(1, seconds, lambda _, _n: raw.last(agent, NEWEST))
