"""A segment: one file of a log, read forwards, backwards, and from a sequence on.

Lines carry their sequence, so that a place is found by bisection over byte offsets; no index is needed. Only
lines whose checksum is right guide the search: a damaged number must not lead past others.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from oacp_storage_engine import Record
from oacp_storage_file.lines import DamagedLineError, is_intact, is_whole, parse_line

_BLOCK = 64 * 1024
_SMALL_BLOCK = 4 * 1024
_LARGE_BLOCK = 1024 * 1024
_SCAN = 8 * 1024  # below this many bytes, reading on is cheaper than another probe


class Place(NamedTuple):
    """An offset where a line begins, and the last sequence surely before it."""

    offset: int
    before: int


class Segment:
    """An open segment of ``agent``: its lines, up to a size that is fixed when it is opened.

    ``first`` is the sequence in its name: none in it is smaller, and none in earlier segments is as large.
    """

    def __init__(self, agent: str, path: str, first: int) -> None:
        self.agent = agent
        self.path = path
        self.first = first
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = self._end_of_lines(os.fstat(self._fd).st_size)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, fewer at the end of the file."""
        return os.pread(self._fd, end - start, start)

    def _end_of_lines(self, size: int) -> int:
        """The size without a torn tail: an incomplete line at the end that was never acknowledged.

        A whole record with only its line end missing is damage, not a torn tail, and stays.
        """
        if size == 0 or self.read(size - 1, size) == b"\n":
            return size
        start = self._line_start(size)
        return size if is_whole(self.read(start, size)) else start

    def _line_start(self, before: int) -> int:
        """Where the line begins that contains the byte at ``before`` - 1; that byte may be its line end."""
        block = _SMALL_BLOCK
        while True:
            start = max(before - block, 0)
            found = self.read(start, before).rfind(b"\n", 0, before - 1 - start)
            if found >= 0:
                return start + found + 1
            if start == 0:
                return 0
            block *= 4

    def _line_end(self, start: int) -> int:
        """Where the line ends that begins at ``start``, its line end included; at most ``size``."""
        block = _SMALL_BLOCK
        offset = start
        while offset < self.size:
            end = min(offset + block, self.size)
            found = self.read(offset, end).find(b"\n")
            if found >= 0:
                return offset + found + 1
            offset, block = end, block * 4
        return self.size

    def lines(self, start: int, *, limit: int, max_bytes: int) -> tuple[list[bytes], int]:
        """Lines from the offset ``start`` on, and the offset after them.

        At most ``limit``, and about ``max_bytes``, but at least one if there is one.
        """
        lines: list[bytes] = []
        offset = start
        block = _BLOCK
        while offset < self.size and len(lines) < limit and offset - start < max_bytes:
            end = min(offset + block, self.size)
            data = self.read(offset, end)
            whole = len(data) if end == self.size else data.rfind(b"\n") + 1
            if whole == 0:  # a line longer than the block
                block *= 4
                continue
            found = _split(data[:whole])
            if len(lines) + len(found) > limit:
                found = found[: limit - len(lines)]
                whole = sum(map(len, found)) + len(found)
            lines += found
            offset = min(offset + whole, self.size)
        return lines, offset

    def lines_before(self, end: int, *, limit: int, max_bytes: int) -> tuple[list[bytes], int]:
        """The last lines before the offset ``end``, in their order, and the offset where they begin."""
        lines: list[bytes] = []
        offset = end
        block = _BLOCK if limit > 1 else _SMALL_BLOCK
        while offset > 0 and len(lines) < limit and end - offset < max_bytes:
            start = max(offset - block, 0)
            data = self.read(start, offset)
            skipped = 0 if start == 0 else data.find(b"\n", 0, -1) + 1
            if start > 0 and skipped == 0:  # a line longer than the block
                block *= 4
                continue
            found = _split(data[skipped:])
            if len(lines) + len(found) > limit:
                found = found[len(lines) - limit :]
                unended = 0 if data.endswith(b"\n") else 1
                skipped = len(data) + unended - sum(map(len, found)) - len(found)
            lines[:0] = found
            offset = start + skipped
        return lines, offset

    def count_lines(self) -> int:
        """How many lines there are, without reading what is in them."""
        count = 0
        for start in range(0, self.size, _LARGE_BLOCK):
            block = self.read(start, min(start + _LARGE_BLOCK, self.size))
            count += block.count(b"\n")
        unended = self.size > 0 and self.read(self.size - 1, self.size) != b"\n"
        return count + unended

    def find(self, sequence: int) -> Place:
        """A place before which all sequences are at most ``sequence``, near the first that is greater."""
        low, high, before = 0, self.size, self.first - 1
        while high - low > _SCAN:
            middle = (low + high) // 2
            probe = self._intact_line_after(middle, high)
            if probe is None or probe[0].sequence > sequence:
                high = middle
            else:
                record, low = probe
                before = record.sequence
        return Place(low, before)

    def _intact_line_after(self, offset: int, high: int) -> tuple[Record, int] | None:
        """The first undamaged line that begins after ``offset`` and before ``high``, and where it ends."""
        start = self._line_end(offset)
        while start < high:
            end = self._line_end(start)
            record = intact_record(self.agent, self.read(start, end).removesuffix(b"\n"))
            if record is not None:
                return record, end
            start = end
        return None


def intact_record(agent: str, line: bytes) -> Record | None:
    """The record of a line, if it is exactly as it was written."""
    try:
        record = parse_line(line)
    except DamagedLineError:
        return None
    return record if is_intact(agent, record) else None


def _split(data: bytes) -> list[bytes]:
    """Lines without their ends; the last one's may be missing."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines
