"""W4: states of 8 KB: put, get, and compare-and-set, beside single puts of the bare driver."""

from __future__ import annotations

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import callers
from oacp_storage_bench.payloads import DOCUMENT, message
from oacp_storage_bench.raw import Raw
from oacp_storage_bench.subject import Subject
from oacp_storage_core import Capability

MANY = 64


async def cells(subject: Subject) -> list[Cell]:
    """Each caller has an agent of its own, so that nothing conflicts."""
    storage = subject.storage
    agents = [subject.target.agent(f"state-{who}") for who in range(MANY)]
    for agent in agents:
        await storage.store_agent_state(agent, message(0, DOCUMENT))
    made = []
    for raw in subject.raws:
        if not raw.only_single:
            await raw.put("state", message(0, DOCUMENT))
            made.append(subject.of_raw(raw, "W4", "put", "put of 8 KB", _raw_put(raw)))
            made.append(subject.of_raw(raw, "W4", "get", "get of 8 KB", _raw_get(raw)))
    puts = [cell.row.key for cell in made if cell.row.key.endswith(".put")]
    gets = [cell.row.key for cell in made if cell.row.key.endswith(".get")]
    versioned = subject.can(Capability.VERSIONED_STATE)
    for count in (1, MANY):
        whom = f"{count} caller{'s' * (count > 1)}"
        put = subject.ours(
            "W4", f"state.put.{count}", f"put of 8 KB, {whom}", _put(subject, agents, count), against=puts
        )
        get = subject.ours(
            "W4", f"state.get.{count}", f"get of 8 KB, {whom}", _get(subject, agents, count), against=gets
        )
        made += [put, get]
        if versioned:
            measure = _compare_and_set(subject, agents, count)
            what = f"compare-and-set of 8 KB, {whom}"
            made.append(subject.ours("W4", f"state.cas.{count}", what, measure, against=puts))
    return made


def _put(subject: Subject, agents: list[str], count: int) -> Measure:
    store = subject.storage.store_agent_state
    return lambda seconds: callers(count, seconds, lambda who, n: store(agents[who], message(n, DOCUMENT)))


def _get(subject: Subject, agents: list[str], count: int) -> Measure:
    get = subject.storage.get_agent_state
    return lambda seconds: callers(count, seconds, lambda who, _: get(agents[who]))


def _compare_and_set(subject: Subject, agents: list[str], count: int) -> Measure:
    versions = dict.fromkeys(range(count), 0)
    names = [f"{agents[who]}-cas-{count}" for who in range(count)]

    async def compare_and_set(who: int, n: int) -> None:
        versions[who] = await subject.storage.store_agent_state(
            names[who], message(n, DOCUMENT), expected_version=versions[who]
        )

    return lambda seconds: callers(count, seconds, compare_and_set)


def _raw_put(raw: Raw) -> Measure:
    return lambda seconds: callers(
        1, seconds, lambda _, n: raw.put(f"state-{n % MANY}", message(n, DOCUMENT))
    )


def _raw_get(raw: Raw) -> Measure:
    return lambda seconds: callers(1, seconds, lambda _, _n: raw.get("state"))
