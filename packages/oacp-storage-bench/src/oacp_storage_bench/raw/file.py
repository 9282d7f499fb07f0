"""Bare files: one file of JSON lines, written and fsynced; a document is a file replaced by renaming."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from oacp_storage_bench.payloads import encode
from oacp_storage_bench.raw.base import Entry, Raw


class RawFile(Raw):
    """``os.write`` and ``os.fsync``, without a thread: nothing else has to go on meanwhile."""

    name = "files, write + fsync"
    slug = "file"
    reads_logs = False

    async def open(self) -> None:
        """Open the file for appending."""
        self.directory = self.place.directory / "raw-files"
        self.directory.mkdir()
        self.path = self.directory / "log.jsonl"
        self._log = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._entry = os.open(self.directory, os.O_RDONLY)
        os.fsync(self._entry)
        self.durability = "power-cut"
        self.settings = "one file, fsync"

    async def close(self) -> None:
        """Close it; the directory goes with the run."""
        os.close(self._log)
        os.close(self._entry)

    async def append(self, entries: Sequence[Entry], lane: int = 0) -> None:
        """One write, one fsync."""
        lines = []
        for agent, payload in entries:
            sequence, unique, at = self.stamp()
            lines.append(encode({"a": agent, "n": sequence, "id": unique, "t": at, "data": payload}))
        lines.append(b"")
        data = b"\n".join(lines)
        if os.write(self._log, data) != len(data):
            raise OSError("the disk took only a part of a write; is it full?")
        os.fsync(self._log)

    async def put(self, key: str, document: dict[str, Any]) -> None:
        """Write aside, fsync, rename, fsync the directory."""
        path = self._document(key)
        aside = f"{path}.new"
        file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, encode(document))
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(aside, path)  # noqa: PTH105 - beside the descriptors, all of os
        os.fsync(self._entry)

    async def get(self, key: str) -> dict[str, Any] | None:
        """Read the whole file."""
        try:
            with open(self._document(key), "rb") as file:  # noqa: ASYNC230, PTH123 - bare on purpose
                found: dict[str, Any] = msgspec.json.decode(file.read())
                return found
        except FileNotFoundError:
            return None

    async def count(self) -> int:
        """The lines of the file."""
        return self.path.read_bytes().count(b"\n")

    def _document(self, key: str) -> str:
        return f"{self.directory}/{sha256(key.encode()).hexdigest()[:32]}.json"
