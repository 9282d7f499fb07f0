"""The Lua scripts, and commands as they go over the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """A script, with the hash under which a server knows it once it has run."""

    text: bytes
    sha: bytes


def _load(*names: str) -> Script:
    folder = files("oacp_storage_redis") / "lua"
    text = b"\n".join((folder / f"{name}.lua").read_bytes() for name in names)
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


OPEN = _load("open")
COMMIT = _load("commit")
READ_LOG = _load("entries", "read_log")
FIND = _load("entries", "find")
SCAN_DOCS = _load("scan_docs")
TRIM = _load("entries", "trim")
ERASE = _load("erase")


_SIZES = [b"\r\n$%d\r\n" % size for size in range(4096)]
"""What stands before a word, by its size; formatting it each time costs more than all the rest of packing."""


def packed_words(words: Iterable[bytes]) -> bytes:
    """Words of a command, each with the end of the line before it."""
    parts: list[bytes] = []
    for word in words:
        size = len(word)
        parts.append(_SIZES[size] if size < 4096 else b"\r\n$%d\r\n" % size)
        parts.append(word)
    return b"".join(parts)


def packed(words: Sequence[bytes]) -> bytes:
    """One command in the server's protocol."""
    return b"*%d%b\r\n" % (len(words), packed_words(words))


def evalsha(script: Script, keys: Sequence[bytes], arguments: Iterable[bytes]) -> bytes:
    """The command that runs a script which the server knows."""
    return packed([b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *arguments])


def load(script: Script) -> bytes:
    """The command that makes a script known to a server."""
    return packed([b"SCRIPT", b"LOAD", script.text])
