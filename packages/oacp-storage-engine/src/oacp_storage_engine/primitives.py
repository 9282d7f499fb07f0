"""The primitives: what a backend implements below the engine, in terms of keys, integers and bytes.

An ``Engine`` knows nothing of payload rules, defaults, waiting callers or event loops that come and go: that
is ``EngineStorage``, written once. The primitives are small enough for one SQL transaction, one Redis script
per slot, one MongoDB transaction or one file journal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from oacp_storage_core import Damage, Durability, RetentionPick, StorageError, Term


class DocKind(StrEnum):
    """The kinds of documents; the values are stable and may be stored."""

    STATE = "state"  # one per agent, its key is ""
    LEARNING = "learning"  # per agent and key
    SYSTEM = "system"  # per key, of no agent


class Append(NamedTuple):
    """One interaction to append. ``given`` ids are looked up first, generated ones (UUIDv7) never.

    ``at_us`` is UTC microseconds, ``body`` canonical JSON, ``crc`` the 32-bit checksum over kind, names, time
    and body. ``sequence`` is None where the store assigns it, and given in an import.
    """

    id: str
    given: bool
    at_us: int
    body: bytes
    crc: int
    sequence: int | None = None


class Put(NamedTuple):
    """One document to write; ``body=None`` deletes it (``at_us`` and ``crc`` are then 0).

    ``expected`` None writes unconditionally, 0 only if there is none. ``version`` is None where the store
    counts, and given in an import, which replaces whatever is there.
    """

    kind: DocKind
    key: str
    body: bytes | None
    at_us: int
    crc: int
    expected: int | None = None
    version: int | None = None


class Slot(NamedTuple):
    """Where a unit lives: an agent (``name`` is its id), or one key of system state."""

    is_agent: bool
    name: str


class Unit(NamedTuple):
    """What is written together or not at all, in one slot: an agent, or (``agent`` None) one system key.

    ``turn`` marks a turn, whose appends either all exist already (a replay) or must all be new.
    """

    agent: str | None
    appends: tuple[Append, ...] = ()
    puts: tuple[Put, ...] = ()
    turn: bool = False

    @property
    def slot(self) -> Slot:
        """What decides where the unit lives."""
        return Slot(True, self.agent) if self.agent is not None else Slot(False, self.puts[0].key)

    @property
    def size(self) -> int:
        """Bytes of the unit's bodies, the measure of groups and queues."""
        return sum(len(a.body) for a in self.appends) + sum(len(p.body) for p in self.puts if p.body)


class Applied(NamedTuple):
    """The unit is in the store. One sequence per append and one version per put, in their order.

    The version of a delete is the one deleted, 0 when there was nothing. ``existing`` holds the indexes of
    appends that were there before and changed nothing. In a ``replayed`` turn nothing was written at all.
    """

    sequences: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()
    existing: tuple[int, ...] = ()
    replayed: bool = False


class Conflict(NamedTuple):
    """Nothing of the unit was written: ``puts[put]`` of the unit found version ``actual`` instead."""

    put: int
    actual: int


class Duplicate(NamedTuple):
    """Nothing of the unit was written: ``appends[append]`` of the unit has an id that is taken.

    ``sequence`` is that of the interaction which has it, 0 when an import's sequence is not after the head.
    """

    append: int
    sequence: int


Outcome = Applied | Conflict | Duplicate


class Record(NamedTuple):
    """One stored interaction as read, unchecked. ``damage`` says why it could not even be read, if so."""

    sequence: int
    id: str
    at_us: int
    body: bytes
    crc: int
    damage: str | None = None


class Doc(NamedTuple):
    """One stored document as read, unchecked. ``damage`` says why it could not even be read, if so."""

    key: str
    version: int
    at_us: int
    body: bytes
    crc: int
    damage: str | None = None


class Hint(NamedTuple):
    """What the reader will filter by; a store may leave out sure misses, and nothing else.

    ``since_us`` inclusive, ``until_us`` exclusive; all ``terms`` must hold (see ``oacp_storage_core.where``).
    """

    since_us: int | None = None
    until_us: int | None = None
    terms: tuple[Term, ...] = ()


class Page(NamedTuple):
    """A piece of a log in reading order, and the ``head``: the agent's last assigned sequence, 0 for none.

    ``next`` is the exclusive bound to go on from (the new ``low`` forwards, the new ``high`` in reverse),
    None when nothing within the bounds is left. A page may be empty and still have a ``next``.
    """

    records: list[Record]
    head: int
    next: int | None = None


class Info(NamedTuple):
    """What ``open`` and ``inspect`` tell about the store. ``warnings`` are whole sentences for operators."""

    server_version: str | None = None
    schema_version: int | None = None
    durability: Durability = "unknown"
    warnings: tuple[str, ...] = ()


class Trimmed(NamedTuple):
    """One step of retention: how many interactions went, and whether calling again would find more."""

    removed: int
    more: bool = False


class Erased(NamedTuple):
    """One step of erasing an agent: what went in it, and whether calling again would find more."""

    interactions: int = 0
    states: int = 0
    learning: int = 0
    more: bool = False


class NotApplied(StorageError):
    """The primitive surely changed nothing, and trying again may help (server away, busy, conflict)."""


class Unknown(StorageError):
    """The primitive may have been applied (its reply was lost): send the same attempt again."""


class Rejected(StorageError):
    """The store surely changed nothing and refuses this content whenever it arrives; other units may pass.

    A group is then sent again in halves under new attempts, so receipts must be looked up before refusing.
    """


class Engine(ABC):
    """One store, one namespace of it, used from one event loop.

    **Calls.** ``commit`` is called by at most ``lanes`` tasks at once, units of one slot always through the
    same lane; reads and the other primitives any number of times at once. Each call may be cancelled, and
    must then leave the engine usable: what runs in a thread or transaction is finished or rolled back.

    **Attempts.** ``commit``, ``trim``, ``drop_covered`` and ``erase`` carry an attempt id. The same id again, after
    ``Unknown``, must have its effect once and return the first outcome; receipts are kept ten minutes.
    Embedded stores, where no reply can be lost, may ignore it. After ``NotApplied`` the same id may come with
    other units.

    **Deadlines.** Writing primitives get a ``deadline``, a time of the running loop's clock: by then they
    must have ended, with ``NotApplied`` if nothing was sent and ``Unknown`` if something was. Reads are
    cancelled from outside when their time is over.

    **Endings.** ``close`` ends an engine properly, ``abandon`` when there is no loop left to do so in. A program
    may end without either: threads and connections must not keep the interpreter from exiting.

    **Errors.** ``NotApplied``, ``Unknown``, ``Rejected`` as described there; any other ``StorageError`` is
    final and surely wrote nothing. Drivers' exceptions never leave an engine; no message shows a password.
    """

    lanes: int = 1
    """How many commits may be under way at once, each for slots of its own."""

    max_group_bytes: int = 4 * 1024 * 1024
    """A group commit closes at about this many bytes of bodies, unless one unit is larger."""

    max_group_units: int = 10_000
    """A group commit closes at this many units."""

    def lane_of(self, slot: Slot) -> int:
        """The lane (0 to ``lanes`` - 1) for a slot; must not change while open."""
        return hash(slot) % self.lanes if self.lanes > 1 else 0

    @abstractmethod
    async def open(self) -> Info:
        """Connect, check or create or upgrade the schema, complete interrupted erasures."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything; nothing is in flight. Also called after an ``open`` that failed.

        Never raises for a connection that is broken already.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Drop everything without awaiting: the loop has ended or is paused, or this is a forked child.

        It may come at any moment, also while opening, or after a ``close`` that took too long; calls that are under
        way end with ``NotApplied`` or ``Unknown`` if their loop ever goes on. Never raises.
        In a child, descriptors and threads shared with the parent must not be written to or shut down.
        """

    @abstractmethod
    async def commit(
        self, attempt: str, units: Sequence[Unit], *, deadline: float
    ) -> Sequence[Outcome | Rejected]:
        """Judge and apply the units in order, and return when all is durable; one outcome per unit.

        A store that can tell which unit it refuses may return a ``Rejected`` in its place; one that cannot, and
        wrote nothing of the group, raises it.

        Each unit is atomic; the group need not be. A unit that conflicts fails alone. The first write to an
        agent lists it. Sequences go on after the agent's last one ever, across ``erase`` too. The schema mark
        is checked in the same atomic step (``SchemaVersionError``).
        """

    @abstractmethod
    async def read_log(
        self,
        agent: str,
        low: int,
        high: int | None,
        *,
        reverse: bool,
        limit: int,
        max_bytes: int,
        hint: Hint | None = None,
    ) -> Page:
        """Records with low < sequence < high, ascending or (``reverse``) descending.

        At most ``limit`` records and about ``max_bytes`` of bodies, but at least one record if there is one.
        ``limit=0`` asks for the head only.
        """

    @abstractmethod
    async def find(self, agent: str, ids: Sequence[str]) -> list[Record]:
        """The records of these ids that exist, in any order; generated ids are found too."""

    @abstractmethod
    async def read_docs(self, agent: str | None, kind: DocKind, keys: Sequence[str]) -> list[Doc | None]:
        """One document or None per key, in their order, from one consistent view."""

    @abstractmethod
    async def scan_docs(
        self, agent: str | None, kind: DocKind, *, prefix: str, after: str | None, limit: int
    ) -> list[Doc]:
        """Documents by key in code-point order (that of UTF-8 bytes), keys > ``after`` only."""

    @abstractmethod
    async def scan_agents(self, *, prefix: str, after: str | None, limit: int) -> list[str]:
        """Agent ids in code-point order (that of UTF-8 bytes), ids > ``after`` only."""

    @abstractmethod
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
        """Delete what the pick names from these agents' logs, about ``limit`` records a step at most.

        ``keep_last`` counts the existing records of each agent. Heads stay. With ``dry_run`` it counts
        everything in one call (``more`` is False) and deletes nothing.
        """

    async def drop_covered(self, attempt: str, pick: RetentionPick, *, deadline: float) -> int:
        """Drop whole partitions of which the pick covers every row, and return how many interactions went.

        Called before ``trim`` when retention is for all agents. By default there are no partitions.
        """
        return 0

    async def count(self, agent: str, low: int, high: int | None, hint: Hint | None) -> int | None:
        """How many records lie within the bounds and times, without reading them; ``hint`` has no terms.

        None, the default, makes the caller read and count.
        """
        return None

    @abstractmethod
    async def erase(self, attempt: str, agent: str, *, begin: bool, limit: int, deadline: float) -> Erased:
        """One step of deleting an agent: about ``limit`` of its records and documents at most.

        The first step (``begin``) hides the agent at once, and all it has; it keeps the last sequence under a
        hash of the name. Later steps remove only what was hidden under this name before, whoever hid it: an
        agent that was re-created meanwhile is not touched. Of an agent that does not exist nothing is removed.
        """

    @abstractmethod
    def signals(self) -> AsyncIterator[str | None]:
        """Wakes watchers: an agent that may have new records, or None for any; without end.

        Yields None as soon as it listens, and again after each lost connection, because what was committed before is
        found by reading. Spurious signals are harmless, missed ones are not. Commits through this very engine need
        not be signalled. Iterated only while somebody watches, once at a time, and cancelled from outside.
        """

    @abstractmethod
    async def inspect(self) -> Info:
        """A round trip to the store, and its condition as read from its settings now."""

    def check(self) -> AsyncIterator[Damage]:
        """Damage in the store that reading every record would not show; called by ``verify``.

        By default there is none to look for.
        """
        return _no_damage()


async def _no_damage() -> AsyncIterator[Damage]:
    for damage in list[Damage]():
        yield damage
