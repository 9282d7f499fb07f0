"""File names for agents, keys and namespaces: any name, on any file system.

``a-`` for example, then the name's UTF-8 bytes: ``a-z``, ``0-9`` and ``-`` as they are, every other byte as
``_xx``. So names stay distinct where the file system folds case or normalises Unicode, and none is reserved
(``con``, ``..``). A name whose encoding is long becomes ``ah-``, its beginning and its SHA-256; the whole name
then stands inside the file or directory.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

_KEPT = b"abcdefghijklmnopqrstuvwxyz0123456789-"
_ENCODED = [chr(byte) if byte in _KEPT else f"_{byte:02x}" for byte in range(256)]
_PLAIN = re.compile(r"(?:[a-z0-9-]|_[0-9a-f]{2})+")
_ESCAPE = re.compile(rb"_([0-9a-f]{2})")

_LONGEST = 200
_SHOWN = 100


class Kind(StrEnum):
    """What a file name stands for; its first letter."""

    NAMESPACE = "n"
    AGENT = "a"
    KEY = "k"


def encode(kind: Kind, name: str) -> str:
    """The file name, without a suffix, of at most 202 characters."""
    encoded = "".join(map(_ENCODED.__getitem__, name.encode()))
    if len(encoded) <= _LONGEST:
        return f"{kind}-{encoded}"
    return f"{kind}h-{encoded[:_SHOWN]}-{hashlib.sha256(name.encode()).hexdigest()}"


def is_hashed(kind: Kind, file_name: str) -> bool:
    """Whether the name itself has to be read from inside."""
    return file_name.startswith(f"{kind}h-")


def decode(kind: Kind, file_name: str) -> str | None:
    """The name that ``encode`` made this file name of; None when it made none, or hashed it."""
    prefix = f"{kind}-"
    encoded = file_name.removeprefix(prefix)
    if not file_name.startswith(prefix) or not _PLAIN.fullmatch(encoded):
        return None
    try:
        name = _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()), encoded.encode()).decode()
    except UnicodeDecodeError:
        return None
    return name if encode(kind, name) == file_name else None
