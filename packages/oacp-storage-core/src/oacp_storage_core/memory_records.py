"""The two things that ``MemoryStorage`` keeps: the log of an agent, and versioned documents by key.

Everything is kept as canonical bytes with a checksum and decoded on the way out, so nothing that was given or
returned is shared with what is stored.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple
from zlib import crc32

from oacp_storage_core.arguments import NewInteraction
from oacp_storage_core.errors import CorruptDataError, VersionConflictError
from oacp_storage_core.payload import decode
from oacp_storage_core.records import DataKind, Document, Interaction
from oacp_storage_core.times import from_us

_sequence = attrgetter("sequence")


class StoredInteraction(NamedTuple):
    """One record of a log."""

    sequence: int
    id: str
    at_us: int
    body: bytes
    crc: int


class StoredDocument(NamedTuple):
    """One document."""

    version: int
    at_us: int
    body: bytes
    crc: int


class Log:
    """The log of one agent: records in ascending sequence, and ``head``, the last sequence ever assigned."""

    def __init__(self, agent_id: str, head: int) -> None:
        self.agent_id = agent_id
        self.head = head
        self.records: list[StoredInteraction] = []
        self.by_id: dict[str, StoredInteraction] = {}

    def append(self, new: NewInteraction) -> StoredInteraction:
        """Add it after the head; an imported one brings its sequence."""
        self.head = new.sequence or self.head + 1
        crc = _checksum(new.body, self.agent_id, self.head, new.id, new.at_us)
        record = StoredInteraction(self.head, new.id, new.at_us, new.body, crc)
        self.records.append(record)
        self.by_id[record.id] = record
        return record

    def between(self, after: int, before: int | None) -> range:
        """The indexes of the records between these exclusive bounds."""
        low = bisect.bisect_right(self.records, after, key=_sequence)
        if before is None:
            return range(low, len(self.records))
        return range(low, bisect.bisect_left(self.records, before, key=_sequence))

    def remove(self, gone: Iterable[StoredInteraction]) -> None:
        """Remove these records; the others keep their sequences, and the head stays."""
        for record in gone:
            del self.by_id[record.id]
        self.records = [record for record in self.records if record.id in self.by_id]

    def read(self, record: StoredInteraction) -> Interaction:
        """The record for its reader; ``CorruptDataError`` when it is not as it was written."""
        if _checksum(record.body, self.agent_id, record.sequence, record.id, record.at_us) != record.crc:
            raise CorruptDataError(
                f"interaction {record.sequence} of agent {self.agent_id!r} is not as it was written",
                agent_id=self.agent_id,
                sequence=record.sequence,
            )
        return Interaction(
            self.agent_id, record.id, record.sequence, from_us(record.at_us), decode(record.body)
        )


class Documents:
    """Documents of one kind: the state of an agent (its key is ``""``), its learning data, or system state."""

    def __init__(self, kind: DataKind, agent_id: str | None = None) -> None:
        self.kind = kind
        self.agent_id = agent_id
        self.stored: dict[str, StoredDocument] = {}

    def version(self, key: str) -> int:
        """The version of the document, 0 when there is none."""
        return self.stored[key].version if key in self.stored else 0

    def expect(self, key: str, expected: int | None) -> None:
        """``VersionConflictError`` unless the document is at the expected version, if one is expected."""
        actual = self.version(key)
        if expected is not None and expected != actual:
            raise VersionConflictError.of(self.describe(key), expected, actual)

    def write(self, key: str, body: bytes, version: int, at_us: int) -> None:
        """Put the document there, whatever was before."""
        crc = _checksum(body, self.kind, self.agent_id, key, version, at_us)
        self.stored[key] = StoredDocument(version, at_us, body, crc)

    def read(self, key: str) -> Document | None:
        """The document for its reader, or None; ``CorruptDataError`` when it is not as it was written."""
        found = self.stored.get(key)
        if found is None:
            return None
        if _checksum(found.body, self.kind, self.agent_id, key, found.version, found.at_us) != found.crc:
            raise CorruptDataError(
                f"{self.describe(key)} is not as it was written", agent_id=self.agent_id, key=key
            )
        return Document(key, decode(found.body), found.version, from_us(found.at_us))

    def describe(self, key: str) -> str:
        """A document in words, for messages."""
        if self.kind == "agent_state":
            return f"the state of agent {self.agent_id!r}"
        if self.kind == "learning_data":
            return f"the learning data {key!r} of agent {self.agent_id!r}"
        return f"the system state {key!r}"


def _checksum(body: bytes, *names: object) -> int:
    return crc32(body, crc32(repr(names).encode()))
