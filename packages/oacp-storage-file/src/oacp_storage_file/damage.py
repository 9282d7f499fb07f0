"""Damage in a log: lines that are not as they were written, and which interactions they were.

A damaged line still occupies its place, and often its number can be read or follows from its neighbours. What
cannot be returned as data is returned as a damaged record, so that nobody passes over it unawares.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from oacp_storage_engine import Record
from oacp_storage_file.lines import START, DamagedLineError, is_intact, parse_line


def sort_out(agent: str, lines: list[bytes], before: int, upper: int | None) -> list[Record]:
    """The records of consecutive lines, damaged ones marked and numbered, in ascending order.

    ``before`` is the last sequence surely before them, ``upper`` is greater than any of them (None: unknown).
    """
    records: list[Record] = []
    pending: list[_Piece] = []
    last = before
    for piece in _pieces(agent, lines):
        record = piece.record
        if record is None or not piece.intact or record.sequence <= last:
            pending.append(piece)
            continue
        if upper is not None and record.sequence >= upper:
            pending.append(piece)
            continue
        records += _number(pending, last, record.sequence)
        pending.clear()
        records.append(record)
        last = record.sequence
    return records + _number(pending, last, upper)


class _Piece:
    """A line, or the part of one that begins like a line: where a line end was lost there are several."""

    __slots__ = ("agent", "intact", "number", "reason", "record")

    def __init__(self, agent: str, raw: bytes) -> None:
        self.agent = agent
        self.record: Record | None = None
        self.intact = False
        self.reason = "its checksum does not fit its content"
        begun = START.match(raw)
        self.number = int(begun[1]) if begun else 0
        try:
            self.record = parse_line(raw)
            self.intact = is_intact(agent, self.record)
        except DamagedLineError as exc:
            self.reason = str(exc)

    def belongs_at(self, sequence: int) -> bool:
        """Whether only the number is wrong, and ``sequence`` is the right one."""
        if self.record is None:
            return False
        mask = crc32(b"%d" % self.record.sequence) ^ crc32(b"%d" % sequence)
        return is_intact(self.agent, self.record._replace(crc=self.record.crc ^ mask))


def _pieces(agent: str, lines: list[bytes]) -> Iterator[_Piece]:
    for line in lines:
        piece = _Piece(agent, line)
        starts = [0] if piece.intact else [0, *(m.start() for m in START.finditer(line, 1))]
        if len(starts) == 1:
            yield piece
            continue
        for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
            yield _Piece(agent, line[start:end])


def _number(pieces: list[_Piece], last: int, upper: int | None) -> list[Record]:
    """Damaged records for the pieces, with sequences between ``last`` and ``upper``, both exclusive.

    Where there is no room for another, a piece is the rest of the record before it.
    """
    records: list[Record] = []
    for piece in pieces:
        expected = last + 1
        if upper is not None and expected >= upper:
            continue
        readable = piece.number > last and (upper is None or piece.number < upper)
        if readable and not piece.belongs_at(expected):
            expected = piece.number
        found = piece.record
        records.append(
            Record(
                expected,
                found.id if found else "",
                found.at_us if found else 0,
                b"",
                0,
                "it stands in a place that is not its own" if piece.intact else piece.reason,
            )
        )
        last = expected
    return records
