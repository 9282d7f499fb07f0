"""The journal's format: groups of physical writes, each checked by itself.

A file begins with one line of JSON. A group is a line ``G``, four hexadecimal numbers (length of the header and
of the body, checksum of header and lengths, checksum of the body), then the header, which is one line of JSON
that names the files and offsets to write, then the body, which is what to write there, one after the other.

All of it is text without NUL, in space that was filled with NULs before. So a group of which the system wrote
only a part (whole sectors, in any order) can be told from one that is complete and damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec

from oacp_storage_file.runs import Run

SECTOR = 512

_PREFIX = re.compile(rb"G ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})\n")
PREFIX_SIZE = 38
_SKIMMED = 4096


class LogWrite(msgspec.Struct, tag="log", omit_defaults=True):
    """``size`` bytes at offset ``at`` of a segment, with all sequences from ``first`` to ``head`` but the ``holes``.

    ``first`` is 0 where there are none, and in journals of schema version 1, which do not tell.
    """

    file: str
    at: int
    size: int
    head: int
    first: int = 0
    holes: list[Run] = msgspec.field(default_factory=list)


class FileWrite(msgspec.Struct, tag="file"):
    """A whole file of ``size`` bytes; ``version`` is that of the document in it, 0 for other files."""

    file: str
    size: int
    version: int


class FileRemoval(msgspec.Struct, tag="removed"):
    """A file that is no longer there; its directory is."""

    file: str

    @property
    def size(self) -> int:
        """It has no content."""
        return 0


Write = LogWrite | FileWrite | FileRemoval


class GroupHeader(msgspec.Struct):
    """The writes of a group, in the order of their contents in the body. Files are relative to namespaces/."""

    writes: list[Write]


_encode_header = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(GroupHeader).decode


class Group(NamedTuple):
    """A group as found: its place in the file, its writes, and whether the body's checksum is right."""

    offset: int
    end: int
    writes: Sequence[Write]
    body: bytes
    intact: bool

    def parts(self) -> Iterator[tuple[Write, bytes]]:
        """Each write with its content."""
        offset = 0
        for write in self.writes:
            yield write, self.body[offset : offset + write.size]
            offset += write.size


class Torn(NamedTuple):
    """What begins here was never completely written."""

    offset: int


class Damaged(NamedTuple):
    """What stands here was written and can no longer be read; it goes on at ``end``."""

    offset: int
    end: int


Found = Group | Torn | Damaged


def format_group(writes: Sequence[Write], contents: Sequence[bytes]) -> bytes:
    """The bytes of a group, whose body is the contents in the order of the writes."""
    header = _encode_header(GroupHeader(list(writes))) + b"\n"
    lengths = b"%08x %08x" % (len(header), sum(map(len, contents)))
    crc = 0
    for content in contents:
        crc = crc32(content, crc)
    body_crc = b"%08x" % crc
    start = b"G %b %08x %b\n%b" % (lengths, _header_crc(lengths, body_crc, header), body_crc, header)
    return b"".join((start, *contents))  # which may be large, so it is copied once


def _header_crc(lengths: bytes, body_crc: bytes, header: bytes) -> int:
    return crc32(header, crc32(lengths + body_crc))


class Outline(NamedTuple):
    """An undamaged group without its contents: how long it is, and what it writes."""

    length: int
    writes: Sequence[Write]


def skim(read: Callable[[int], bytes]) -> Outline:
    """The outline of an undamaged group, of which ``read`` returns the first bytes."""
    start = read(_SKIMMED)
    header_end = PREFIX_SIZE + int(start[2:10], 16)
    length = header_end + int(start[11:19], 16)
    if len(start) < header_end:
        start = read(header_end)
    return Outline(length, _decode_header(start[PREFIX_SIZE:header_end]).writes)


def scan(data: bytes, base: int) -> Iterator[Found]:
    """What stands in the journal from the offset ``base`` on, which ``data`` begins at, up to unused space."""
    position = 0
    while position < len(data):
        found = _at(data, position, base)
        if found is None:
            return
        yield found
        if isinstance(found, Torn):
            return
        position = found.end - base


def _at(data: bytes, position: int, base: int) -> Found | None:
    prefix = data[position : position + PREFIX_SIZE]
    if not prefix.strip(b"\0"):
        return None
    if len(prefix) < PREFIX_SIZE or _unwritten(prefix, base + position):
        return Torn(base + position)
    group = _group(data, position, base)
    if group is not None:
        return group
    resumed = _next_group(data, position + 1, base)
    return Damaged(base + position, base + (len(data.rstrip(b"\0")) if resumed is None else resumed))


def _group(data: bytes, position: int, base: int) -> Group | Torn | None:
    """The group at a position, None when its header is damaged."""
    match = _PREFIX.match(data, position)
    if match is None:
        return None
    start = position + PREFIX_SIZE
    end_of_line = data.find(b"\n", start)
    if end_of_line < 0:
        header = data[start : start + int(match[1], 16)]
        torn = len(header) < int(match[1], 16) or _unwritten(header, base + start)
        return Torn(base + position) if torn else None
    header = data[start : end_of_line + 1]
    if _unwritten(header, base + start):
        return Torn(base + position)
    header_size, body_size, header_crc, _ = (int(number, 16) for number in match.groups())
    if len(header) != header_size or _header_crc(match[0][2:19], match[4], header) != header_crc:
        return None
    body_start = start + header_size
    body = data[body_start : body_start + body_size]
    if len(body) < body_size or _unwritten(body, base + body_start):
        return Torn(base + position)
    end = base + body_start + body_size
    writes = _decode_header(header).writes
    return Group(base + position, end, writes, body, crc32(body) == int(match[4], 16))


def _next_group(data: bytes, position: int, base: int) -> int | None:
    """Where the next readable group begins."""
    for match in _PREFIX.finditer(data, position):
        if isinstance(_group(data, match.start(), base), Group):
            return match.start()
    return None


def _unwritten(part: bytes, offset: int) -> bool:
    """Whether the end or a sector's share of this part, which stands at ``offset``, was never written."""
    if b"\0" not in part:
        return False
    if part.endswith(b"\0"):
        return True
    start = 0
    while start < len(part):
        end = min(start + SECTOR - (offset + start) % SECTOR, len(part))
        if not part[start:end].strip(b"\0"):
            return True
        start = end
    return False
