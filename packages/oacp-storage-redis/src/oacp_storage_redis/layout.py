"""Where things are kept: buckets, and the names of keys.

Agents and keys of system state are spread over 256 buckets by a checksum of their name. All keys of a bucket begin
with the same tag, ``{oacp:<namespace>:<bucket>}``, which holds nothing that a name could break out of; so a cluster
keeps them in one slot, and one script writes to all of them atomically. T being the tag, and A an agent:

==================  ===========  ====================================================================================
key                 type         holds
==================  ===========  ====================================================================================
T:schema            string       the schema version, from the first write to the bucket on
T:agents            sorted set   the agents in the order of their names, all with score 0
T:heads             hash         agent to the last sequence of its log
T:tombstones        hash         SHA-1 of a deleted agent's name to the last sequence of its log
T:log:A             stream       interactions, ``0-<sequence>`` with the fields id, at, crc, body
T:ids:A             hash         id of an interaction to its sequence
T:documents:A       hash         ``t`` (the state) or ``l<key>`` (learning data) to the document's JSON; the same name
                                 after a ``v`` to "version, at, crc" in lines
T:keys:A            sorted set   the keys of learning data in their order
T:system            hash         ``y<key>`` (system state) to the same as above
T:system-keys       sorted set   the keys of system state in their order
T:receipt:...       string       the number and outcomes of the last group commit of one writer, or of one other write
T:never             (none)       never exists; see ``guard``
==================  ===========  ====================================================================================

The mark of bucket 0 is made when the namespace is first opened, and stands for all of it.
"""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

from oacp_storage_engine import DocKind

SCHEMA_VERSION = 1
BUCKETS = 256

KIND_LETTERS = {DocKind.STATE: b"t", DocKind.LEARNING: b"l", DocKind.SYSTEM: b"y"}

DIGITS = [b"%02x" % bucket for bucket in range(BUCKETS)]


@lru_cache(maxsize=4096)  # asked several times for each write
def bucket_of(name: str) -> int:
    """The bucket of an agent or of a key of system state."""
    return crc32(name.encode()) % BUCKETS


class Layout:
    """The names of one namespace's keys."""

    def __init__(self, namespace: str) -> None:
        self.tag_start = b"{oacp:" + namespace.encode() + b":"
        self.tags = [self.tag_start + digits + b"}" for digits in DIGITS]
        self.channel = b"oacp:" + namespace.encode()

    def guard(self, bucket: int, first: bytes | None = None) -> list[bytes]:
        """The keys that a script on this bucket declares: ``first``, the schema mark, and one that never exists.

        A server that is moving a slot key by key answers commands whose keys are there in part only with an error,
        so while a bucket is moved no script sees half of it.
        """
        tag = self.tags[bucket]
        keys = [tag + b":schema", tag + b":never"]
        return keys if first is None else [first, *keys]

    def receipt(self, bucket: int, name: str) -> bytes:
        """The key of a receipt."""
        return b"%b:receipt:%b" % (self.tags[bucket], name.encode())
