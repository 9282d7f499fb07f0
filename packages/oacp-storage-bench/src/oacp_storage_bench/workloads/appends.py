"""W1: durable appends of 1 KB by several callers over 20 agents, beside the bare driver and the peers."""

from __future__ import annotations

from collections.abc import Awaitable

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.measure import Sample, callers
from oacp_storage_bench.payloads import KILOBYTE, message
from oacp_storage_bench.processes import Child
from oacp_storage_bench.raw import Raw
from oacp_storage_bench.subject import AGENTS, Subject

BATCH = 64


async def cells(subject: Subject) -> list[Cell]:
    """One caller beside single commits, 64 beside batches of 64, 256 beside 64."""
    singles = [f"raw.{raw.slug}.append.1" for raw in subject.raws]
    batches = [f"raw.{raw.slug}.append.batch64" for raw in subject.raws if not raw.only_single]
    singles += [f"peer.{slug}.append.1" for slug, _, _ in subject.peers]
    batches += [f"peer.{slug}.append.64" for slug, _, _ in subject.peers]
    against = {1: singles, 64: batches, 256: ["append.callers.64"]}
    made = []
    for raw in subject.raws:
        made.append(subject.of_raw(raw, "W1", "append.1", "append, single commits", _single(subject, raw)))
        if not raw.only_single:
            made.append(batched(subject, raw, "append.batch64", "append, commits of 64", KILOBYTE))
    for count in subject.profile.callers:
        cell = subject.ours(
            "W1",
            f"append.callers.{count}",
            f"append, {count} caller{'s' * (count > 1)}",
            _appending(subject, count),
            against=against.get(count, ()),
        )
        made.append(cell)
    for slug, peer, process in subject.peers:
        for count in (1, BATCH):
            what = f"append, {count} caller{'s' * (count > 1)}"
            measure = _peering(process, count)
            made.append(subject.of_peer(slug, peer, process, f"append.{count}", what, measure))
    return made


def _appending(subject: Subject, count: int) -> Measure:
    return lambda seconds: callers(count, seconds, lambda who, n: append(subject, who, n))


def append(subject: Subject, who: int, n: int, size: int = KILOBYTE) -> Awaitable[str]:
    """The n-th append of a caller: each caller goes round the agents, and begins at another one."""
    return subject.storage.store_interaction(subject.agents[(who + n) % AGENTS], message(n, size))


def _single(subject: Subject, raw: Raw) -> Measure:
    agents = subject.agents
    return lambda seconds: callers(1, seconds, lambda _, n: raw.append([(agents[n % AGENTS], message(n))]))


def batched(subject: Subject, raw: Raw, key: str, what: str, size: int) -> Cell:
    """A bare driver committing 64 at a time, on as many connections as it has use for."""
    batch = [(subject.agents[n % AGENTS], message(n, size)) for n in range(BATCH)]

    async def measure(seconds: float) -> Sample:
        return await callers(raw.lanes, seconds, lambda lane, _: raw.append(batch, lane), each=BATCH)

    return subject.of_raw(raw, "W1", key, what, measure)


def _peering(process: Child, count: int) -> Measure:
    async def measure(seconds: float) -> Sample:
        answer = await process.ask({"callers": count, "seconds": seconds})
        return Sample(*answer["sample"])

    return measure
