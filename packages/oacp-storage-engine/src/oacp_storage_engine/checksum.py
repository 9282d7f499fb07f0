"""Checksums: one CRC-32 over kind, names, time and body of every record, on every backend.

The sequence of an interaction and the version of a document are assigned by the store and not covered.
"""

from __future__ import annotations

from zlib import crc32

from oacp_storage_engine.primitives import DocKind


def interaction_crc(agent: str, interaction_id: str, at_us: int, body: bytes) -> int:
    """The checksum of an interaction. Names hold no NUL, so that the parts cannot run into each other."""
    return crc32(body, crc32(f"interaction\0{agent}\0{interaction_id}\0{at_us}\0".encode()))


def document_crc(kind: DocKind, agent: str | None, key: str, at_us: int, body: bytes) -> int:
    """The checksum of a document; ``agent`` is None for system state."""
    return crc32(body, crc32(f"{kind}\0{agent or ''}\0{key}\0{at_us}\0".encode()))
