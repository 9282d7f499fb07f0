"""Document files: one JSON object a file, indented for people, from which the payload's exact bytes come back.

Indentation is white space between tokens only, and canonical payloads have none, so that taking all white
space away again restores them byte for byte.
"""

from __future__ import annotations

import os
import re
from zlib import crc32

import msgspec

from oacp_storage_engine import Doc
from oacp_storage_file.disk import read_file
from oacp_storage_file.lines import DamagedLineError, format_time, parse_time

_LARGEST_INDENTED = 64 * 1024
_VERSION = re.compile(rb'"version": ?(\d{1,19}),')


class DocumentFile(msgspec.Struct):
    """The parsed file; ``data`` holds the payload with its indentation."""

    key: str
    version: int
    updated_at: str
    crc: int
    data: msgspec.Raw


_encode_text = msgspec.json.Encoder().encode
_decode_file = msgspec.json.Decoder(DocumentFile).decode


def format_document(key: str, version: int, at_us: int, crc: int, body: bytes) -> bytes:
    """The content of a document's file. ``crc`` is the document's own checksum.

    Large payloads stay on one line: indented, deeply nested ones would grow out of proportion.
    """
    head = b'{"key":%s,"version":%d,"updated_at":"%s","crc":%d,"data":' % (
        _encode_text(key),
        version,
        format_time(at_us).encode(),
        crc ^ crc32(b"%d" % version),
    )
    if len(body) <= _LARGEST_INDENTED:
        return msgspec.json.format(head + body + b"}", indent=2) + b"\n"
    return head + body + b"}\n"


def parse_document(content: bytes, key: str | None) -> Doc:
    """The document of a file's content, its checksum not yet compared.

    ``key`` is what the file's name says, None where it does not tell. What cannot be read has ``damage``.
    """
    try:
        found, version, updated_at, crc, data = msgspec.structs.astuple(_decode_file(content))
        body = msgspec.json.format(bytes(data), indent=-1)
        at_us = parse_time(updated_at)
    except (msgspec.MsgspecError, UnicodeDecodeError, DamagedLineError) as exc:
        match = _VERSION.search(content[:4096])
        version = int(match[1]) if match else 0
        return Doc(key or "", version, 0, b"", 0, f"its file is not as it was written ({exc})")
    if key is not None and found != key:
        return Doc(key, version, at_us, body, 0, f"its file holds the key {found!r:.60}")
    return Doc(found, version, at_us, body, crc ^ crc32(b"%d" % version))


def read_document(path: str, key: str | None) -> Doc | None:
    """The document in a file, None when there is no such file."""
    try:
        content = read_file(path)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return Doc(key or "", 0, 0, b"", 0, f"{os.path.basename(path)} is a directory")
    return parse_document(content, key)
