"""From what the engine deals in to documents of the database, and back.

Bodies are kept as the bytes they are. Beside them stands the same payload as a document (``data``), for people and
for the server's filters. It is derived and never returned. It is left out where MongoDB has no equal for a payload:
integers beyond 64 bits, keys with NUL, keys that begin with ``$``, and where it would make the document too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument

from oacp_storage_core.payload import decode
from oacp_storage_engine import Append, Doc, DocRef, Put, Record
from oacp_storage_mongo.layout import SCHEMA_VERSION, document_key, record_key

_LARGEST_PROJECTED = 8 * 1024 * 1024

RECORD = {"_id": 0, "sequence": 1, "id": 1, "at_us": 1, "crc": 1, "body": 1}
"""The projection of an interaction as ``record_of`` wants it."""
DOCUMENT = {"_id": 0, "key": 1, "version": 1, "at_us": 1, "crc": 1, "body": 1, "incarnation": 1}
"""The projection of a document as ``doc_of`` wants it."""


def record_document(
    namespace: str, agent: str, slot: bytes, sequence: int, append: Append
) -> RawBSONDocument:
    """An interaction, encoded."""
    return _with_projection(
        {
            "_id": record_key(slot, sequence),
            "agent_id": agent,
            "namespace": namespace,
            "sequence": sequence,
            "id": append.id,
            "timestamp": DatetimeMS(append.at_us // 1000),
            "at_us": append.at_us,
            "crc": append.crc,
            "schema": SCHEMA_VERSION,
            "body": append.body,
        },
        append.body,
    )


def document_document(
    namespace: str, ref: DocRef, incarnation: bytes | None, version: int, put: Put
) -> RawBSONDocument:
    """A document of an agent, or of the system (``incarnation`` None), encoded."""
    body = put.body or b""
    fields: dict[str, Any] = {"_id": document_key(namespace, ref.agent, ref.kind, ref.key)}
    if ref.agent is not None:
        fields |= {"agent_id": ref.agent, "incarnation": incarnation}
    fields |= {
        "namespace": namespace,
        "kind": str(ref.kind),
        "key": ref.key,
        "version": version,
        "updated_at": DatetimeMS(put.at_us // 1000),
        "at_us": put.at_us,
        "crc": put.crc,
        "schema": SCHEMA_VERSION,
        "body": body,
    }
    return _with_projection(fields, body)


def _with_projection(fields: dict[str, Any], body: bytes) -> RawBSONDocument:
    if len(body) < _LARGEST_PROJECTED:
        data = decode(body)
        if b"$" not in body or not any(key[:1] == "$" for key in _keys(data)):
            try:
                encoded = bson.encode({**fields, "data": data})
            except (OverflowError, InvalidDocument):  # an integer beyond 64 bits, a key with NUL
                encoded = b""
            if 0 < len(encoded) < _LARGEST_PROJECTED:
                return RawBSONDocument(encoded)
    return RawBSONDocument(bson.encode(fields))


def _keys(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def record_of(stored: Mapping[str, Any]) -> Record:
    """The interaction as stored; what is not of its type is damage."""
    sequence, name, at_us = stored.get("sequence"), stored.get("id"), stored.get("at_us")
    crc, body = stored.get("crc"), stored.get("body")
    if not isinstance(sequence, int):
        sequence = 0
    if isinstance(name, str) and isinstance(at_us, int) and isinstance(crc, int) and isinstance(body, bytes):
        return Record(int(sequence), name, at_us, body, crc)  # the driver's is of a type of its own
    return Record(sequence, "", 0, b"", 0, "its fields are not of their types")


def doc_of(stored: Mapping[str, Any]) -> Doc:
    """The document as stored; what is not of its type is damage."""
    key, version, at_us = stored.get("key"), stored.get("version"), stored.get("at_us")
    crc, body = stored.get("crc"), stored.get("body")
    if not isinstance(version, int):
        version = 0
    if isinstance(key, str) and isinstance(at_us, int) and isinstance(crc, int) and isinstance(body, bytes):
        return Doc(key, version, at_us, body, crc)
    return Doc(str(key), version, 0, b"", 0, "its fields are not of their types")
