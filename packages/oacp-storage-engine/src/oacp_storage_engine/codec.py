"""From what a store returns to what a caller gets: checksums checked, bodies decoded, damage named."""

from __future__ import annotations

from oacp_storage_core import CorruptDataError, Document, Interaction
from oacp_storage_core.payload import decode
from oacp_storage_core.times import from_us
from oacp_storage_engine.checksum import document_crc, interaction_crc
from oacp_storage_engine.primitives import Doc, DocKind, Record

_NOT_AS_WRITTEN = "its checksum does not fit its content"


def to_interaction(agent: str, record: Record) -> Interaction:
    """The interaction, or ``CorruptDataError`` when it is not as it was written."""
    damage = record.damage
    if damage is None:
        try:
            if interaction_crc(agent, record.id, record.at_us, record.body) == record.crc:
                at = from_us(record.at_us)
                return Interaction(agent, record.id, record.sequence, at, decode(record.body))
            damage = _NOT_AS_WRITTEN
        except (ValueError, OverflowError) as exc:
            damage = str(exc)
    raise CorruptDataError(
        f"interaction {record.sequence} of agent {agent!r} is damaged: {damage}; the others can be read, "
        "and a backup may have it",
        agent_id=agent,
        sequence=record.sequence,
    )


def out_of_place(agent: str, sequence: int) -> CorruptDataError:
    """What to raise when a store gives an interaction twice, or not where its sequence belongs."""
    return CorruptDataError(
        f"interaction {sequence} of agent {agent!r} stands in the log where another belongs: the store's own "
        "structure is damaged; copy what can be read to a new store, and a backup may have the rest",
        agent_id=agent,
        sequence=sequence,
    )


def to_document(agent: str | None, kind: DocKind, doc: Doc) -> Document:
    """The document, or ``CorruptDataError`` when it is not as it was written."""
    damage = doc.damage
    if damage is None:
        try:
            if document_crc(kind, agent, doc.key, doc.at_us, doc.body) == doc.crc:
                return Document(doc.key, decode(doc.body), doc.version, from_us(doc.at_us))
            damage = _NOT_AS_WRITTEN
        except (ValueError, OverflowError) as exc:
            damage = str(exc)
    raise CorruptDataError(
        f"{describe(agent, kind, doc.key)} is damaged: {damage}; storing it again replaces it",
        agent_id=agent,
        key=doc.key,
    )


def describe(agent: str | None, kind: DocKind, key: str) -> str:
    """A document in words, for messages."""
    if kind is DocKind.STATE:
        return f"the state of agent {agent!r}"
    if kind is DocKind.LEARNING:
        return f"the learning data {key!r} of agent {agent!r}"
    return f"the system state {key!r}"
