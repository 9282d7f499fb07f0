"""The sequence lock: how readers see whole commits without waiting for writers.

A small file holds a counter that is odd while a commit is being applied to the readable files. Who reads it
before and after, and finds the same even number, has seen no commit half. Beside it stands how far the
journal is applied. The file is never synced: after a power cut it is made anew from the journal.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple
from zlib import crc32

from oacp_storage_file.disk import Disk

_LAYOUT = struct.Struct("<5Q")
_SIZE = _LAYOUT.size + 4  # a checksum: readers may meet a writer half way


class Position(NamedTuple):
    """The counter, and where the store stands.

    ``generation`` and ``end``: the journal's file and how much of it is applied. ``epoch`` changes when files
    were changed beside the journal. ``suspect``: a sync of readable files failed, so that they must be written
    again from the journal before it may be dropped.
    """

    counter: int
    generation: int
    end: int
    epoch: int
    suspect: bool = False

    @property
    def settled(self) -> bool:
        """Whether no commit is being applied."""
        return self.counter % 2 == 0


class SequenceLock:
    """The file. One writer at a time (who holds the commit lock), any number of readers."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._fd = disk.open(path, create=True)

    def read(self) -> Position | None:
        """The present position; None while it is being written, or when there is none."""
        data = os.pread(self._fd, _SIZE, 0)
        fields = data[: _LAYOUT.size]
        if len(data) < _SIZE or crc32(fields) != int.from_bytes(data[_LAYOUT.size :], "little"):
            return None
        counter, generation, end, epoch, suspect = _LAYOUT.unpack(fields)
        return Position(counter, generation, end, epoch, bool(suspect))

    def write(self, position: Position) -> None:
        """Publish a position."""
        fields = _LAYOUT.pack(*position)
        self._disk.write(self._fd, fields + crc32(fields).to_bytes(4, "little"), 0)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._disk.close(fd)
