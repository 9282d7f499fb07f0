"""A storage under measurement, with its bare drivers and peers, all open."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from oacp_storage_bench.cell import Cell, Measure
from oacp_storage_bench.peers import Peer, peers_of
from oacp_storage_bench.place import IN_MEMORY, Target
from oacp_storage_bench.processes import Child, ChildFailed, child
from oacp_storage_bench.profile import Profile
from oacp_storage_bench.raw import Raw, Unavailable, raws_of
from oacp_storage_bench.results import Row, StorageFacts, Unit
from oacp_storage_bench.traffic import Traffic
from oacp_storage_core import Capability, Storage, StorageConnectionError

AGENTS = 20
"""Over how many agents callers append."""


class Subject:
    """What the workloads work with. ``notes`` are for the report."""

    def __init__(
        self, target: Target, storage: Storage, facts: StorageFacts, profile: Profile, traffic: Traffic | None
    ) -> None:
        self.target = target
        self.storage = storage
        self.facts = facts
        self.profile = profile
        self.traffic = traffic
        self.raws: list[Raw] = []
        self.peers: list[tuple[str, type[Peer], Child]] = []
        self.versions: dict[str, str] = {}
        self.notes: list[str] = []
        self.agents = [target.agent(number) for number in range(AGENTS)]

    def can(self, *needed: Capability) -> bool:
        """Whether the storage declares all these; a note where it does not."""
        missing = [one.name for one in needed if one not in self.storage.capabilities]
        if missing:
            self.note(f"does not declare {', '.join(missing)}; what needs it is not measured")
        return not missing

    def note(self, text: str) -> None:
        """Something that the report shall say of this storage, once."""
        line = f"{self.facts.label}: {text}"
        if line not in self.notes:
            self.notes.append(line)

    async def make_room(self) -> None:
        """Delete what was appended, where the memory would fill; on disks everything stays until the end."""
        if self.target.place.family in IN_MEMORY and self.can(Capability.AGENTS):
            for agent in self.agents:
                await self.storage.delete_agent(agent)
            for raw in self.raws:
                await raw.forget(self.agents)

    def ours(
        self,
        workload: str,
        key: str,
        what: str,
        measure: Measure,
        *,
        unit: Unit = "a second",
        against: Iterable[str] = (),
        heavy: bool = False,
    ) -> Cell:
        """A cell of the storage."""
        facts = self.facts
        family = self.target.place.family
        row = Row(facts.label, workload, key, what, "ours", family, unit, facts.durability, "")
        row.against = list(against)
        return Cell(row, measure, heavy)

    def of_raw(self, raw: Raw, workload: str, key: str, what: str, measure: Measure) -> Cell:
        """A cell of a bare driver, with the key ``raw.DRIVER.KEY``."""
        name = f"raw.{raw.slug}.{key}"
        row = Row(
            self.facts.label, workload, name, what, "raw", raw.name, "a second", raw.durability, raw.settings
        )
        return Cell(row, measure)

    def of_peer(
        self, slug: str, peer: type[Peer], process: Child, key: str, what: str, measure: Measure
    ) -> Cell:
        """A cell of a peer, with the key ``peer.SLUG.KEY``."""
        facts = process.facts
        row = Row(
            self.facts.label,
            "W1",
            f"peer.{slug}.{key}",
            what,
            "peer",
            f"{peer.title} {facts['versions'][peer.distributions[0]]}",
            "a second",
            facts["durability"],
            facts["settings"],
        )
        return Cell(row, measure)


@contextlib.asynccontextmanager
async def subject(
    target: Target, label: str, profile: Profile, against: frozenset[str], traffic: Traffic | None
) -> AsyncIterator[Subject]:
    """Open the storage and what is measured beside it. What is not there is left out, with a note.

    Raises ``StorageConnectionError`` when the storage itself does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        storage = await stack.enter_async_context(target.storage())
        health = await storage.health()
        if not health.ok:
            raise StorageConnectionError(f"{target.shown} does not answer: {health.error}")
        facts = StorageFacts(
            label,
            target.backend,
            target.shown,
            health.server_version,
            health.durability,
            list(health.warnings),
        )
        made = Subject(target, storage, facts, profile, traffic)
        stack.push_async_callback(_tidy, made, "what was stored", lambda: _erase(made))
        if "raw" in against:
            await _open_raws(made, stack)
        if "peers" in against:
            await _open_peers(made, stack)
        yield made


async def _open_raws(made: Subject, stack: contextlib.AsyncExitStack) -> None:
    raws = raws_of(made.target.place)
    if not raws:
        made.note("there is no raw part for this kind of store")
    for raw in raws:
        try:
            await raw.open()
        except Unavailable as exc:
            made.note(f"no raw {raw.name}: {exc}")
            continue
        stack.push_async_callback(_tidy, made, f"what raw {raw.name} stored", raw.close)
        made.raws.append(raw)


async def _open_peers(made: Subject, stack: contextlib.AsyncExitStack) -> None:
    family, url, directory, token = made.target.place
    peers = peers_of(family)
    if not peers:
        made.note("there are no peers for this kind of store")
    for slug, peer in peers.items():
        place = [family, url, str(directory), token]
        try:
            process = await stack.enter_async_context(
                child("peer", peer=slug, place=place, agents=made.agents)
            )
        except ChildFailed as exc:
            made.note(f"{peer.title} is left out: {exc}")
            continue
        made.peers.append((slug, peer, process))
        made.versions |= process.facts["versions"]


async def _tidy(made: Subject, what: str, remove: Callable[[], Awaitable[None]]) -> None:
    """Remove something at the end; a failure is a note, for it must not cost the figures of an hour."""
    try:
        await remove()
    except Exception as exc:  # noqa: BLE001 - bare drivers raise what they like
        made.note(f"{what} could not be removed: {type(exc).__name__}: {exc}")


async def _erase(made: Subject) -> None:
    """Remove the agents of this run, and nothing else."""
    if made.target.is_temporary:
        return
    if Capability.AGENTS not in made.storage.capabilities:
        made.note(f"cannot delete agents: those named bench-{made.target.token}-... are left behind")
        return
    while names := await made.storage.list_agents(prefix=made.target.agent("")):
        for name in names:
            await made.storage.delete_agent(name)
