"""Where everything is: collections, indexes, keys, and the mark of the schema.

One document stands for one interaction. Its ``_id`` is the agent's slot (a hash of namespace and name) followed by
the sequence, so that two interactions can never have one place, whoever writes them. A document that retention or
the deletion of its agent removed leaves its ``_id`` behind for an hour (``gone_at``, a TTL index): no client that
knows less of the log than the server can write into the hole. See ``commits``.
"""

from __future__ import annotations

import hashlib
from typing import Any

from oacp_storage_engine import DocKind

SCHEMA_VERSION = 1

META = "meta"
AGENTS = "agents"
DOCUMENTS = "documents"
ERASURES = "erasures"
INTERACTIONS = "interactions"
RECEIPTS = "receipts"
TOMBSTONES = "tombstones"

MARK = "schema"
"""The ``_id`` of the document in ``meta`` that says which version of this layout the database has."""

WRITTEN = (AGENTS, DOCUMENTS, ERASURES, INTERACTIONS, RECEIPTS, TOMBSTONES)
"""The collections that writes go to. Each refuses documents of another schema version by its validator, so that the
version is checked in the same step as every write."""

_KEEP_SECONDS = 3600
_LIVE = {"agent_id": {"$exists": True}}

INDEXES: dict[str, list[dict[str, Any]]] = {
    INTERACTIONS: [
        {
            "name": "oacp_sequence",
            "key": {"agent_id": 1, "namespace": 1, "sequence": 1, "at_us": 1},
            "partialFilterExpression": _LIVE,
        },
        {
            "name": "oacp_id",
            "key": {"agent_id": 1, "namespace": 1, "id": 1},
            "partialFilterExpression": _LIVE,
        },
        {
            "name": "oacp_gone",
            "key": {"gone_at": 1},
            "expireAfterSeconds": _KEEP_SECONDS,
            "partialFilterExpression": {"gone_at": {"$exists": True}},
        },
    ],
    DOCUMENTS: [{"name": "oacp_key", "key": {"agent_id": 1, "namespace": 1, "kind": 1, "key": 1}}],
    ERASURES: [{"name": "oacp_agent", "key": {"agent_id": 1, "namespace": 1}}],
    RECEIPTS: [{"name": "oacp_at", "key": {"at": 1}, "expireAfterSeconds": _KEEP_SECONDS}],
}


def validator(version: int) -> dict[str, Any]:
    """What the server demands of every document that is written to a database of this schema version."""
    return {"schema": version}


def agent_key(namespace: str, agent: str) -> str:
    """The ``_id`` in ``agents``; a namespace holds no slash."""
    return f"{namespace}/{agent}"


def slot_of(namespace: str, agent: str) -> bytes:
    """What the keys of an agent's interactions begin with."""
    return hashlib.sha256(f"{namespace}\0{agent}".encode()).digest()[:16]


def tombstone_key(namespace: str, agent: str) -> bytes:
    """What a deleted agent is remembered by."""
    return hashlib.sha256(f"tombstone\0{namespace}\0{agent}".encode()).digest()


def record_key(slot: bytes, sequence: int) -> bytes:
    """The ``_id`` of an interaction; in the order of sequences."""
    return slot + sequence.to_bytes(8, "big")


def document_key(namespace: str, agent: str | None, kind: DocKind, key: str) -> bytes:
    """The ``_id`` of a document. Names hold no NUL, so the parts cannot run into each other."""
    return hashlib.sha256(f"{namespace}\0{kind}\0{agent or ''}\0{key}".encode()).digest()


def names_in(start: str) -> dict[str, str]:
    """The condition for strings that begin with ``start``, in the server's order, which is that of code points."""
    bounds = {"$gte": start}
    end = _end_of(start)
    if end is not None:
        bounds["$lt"] = end
    return bounds


def _end_of(start: str) -> str | None:
    """The first string after all that begin with ``start``; None when there is none."""
    while start:
        last = ord(start[-1])
        if last < 0x10FFFF:
            following = 0xE000 if last == 0xD7FF else last + 1  # no string holds a surrogate
            return start[:-1] + chr(following)
        start = start[:-1]
    return None
