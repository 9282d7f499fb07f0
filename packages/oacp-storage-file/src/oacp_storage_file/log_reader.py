"""Reading a log by pages, in either direction, from any sequence on."""

from __future__ import annotations

from collections.abc import Callable

from oacp_storage_engine import Hint, Page, Record
from oacp_storage_file.damage import sort_out
from oacp_storage_file.lines import DamagedLineError, is_intact, parse_line
from oacp_storage_file.log_view import LogView
from oacp_storage_file.missing import name_missing
from oacp_storage_file.segment import Segment, intact_record

_FEW = 64  # lines that are read at least, because bisection ends a little before the first one wanted


def read_page(
    view: LogView,
    low: int,
    high: int | None,
    *,
    reverse: bool,
    limit: int,
    max_bytes: int,
    hint: Hint | None = None,
) -> Page:
    """The primitive ``read_log`` over a view. Missing interactions make one damaged record for each gap.

    ``FileNotFoundError`` when what is missing may have been removed properly since the view was taken.
    """
    end = view.head + 1 if high is None else min(high, view.head + 1)
    if limit <= 0 or end - low <= 1:
        return Page([], view.head)
    read = _read_backwards if reverse else _read_forwards
    records, reached = read(view, low, end, limit, max_bytes) if view.firsts else ([], None)
    if view.present:
        records, reached = name_missing(view, records, low, end, reached, limit, reverse=reverse)
    if hint is not None:
        records = [record for record in records if _may_pass(view.agent, record, hint)]
    return Page(records, view.head, reached)


def _may_pass(agent: str, record: Record, hint: Hint) -> bool:
    """Whether the times of the hint let a record pass; a damaged one is never left out."""
    missed = (hint.since_us is not None and record.at_us < hint.since_us) or (
        hint.until_us is not None and record.at_us >= hint.until_us
    )
    return not missed or record.damage is not None or not is_intact(agent, record)


def _read_forwards(
    view: LogView, low: int, end: int, limit: int, max_bytes: int
) -> tuple[list[Record], int | None]:
    records: list[Record] = []
    size = 0
    for index in range(view.index_of(low + 1), len(view.firsts)):
        segment = view.segment(index)
        offset, before = segment.find(low)
        while offset < segment.size:
            lines, next_offset = segment.lines(
                offset, limit=max(limit - len(records) + 1, _FEW), max_bytes=max(max_bytes - size, 1)
            )
            found = _parse_ascending(lines, before)
            if found is None or not is_intact(view.agent, found[-1]):
                lines, next_offset = _up_to_intact(segment, lines, next_offset)
                found = sort_out(view.agent, lines, before, view.upper(index))
            for record in found:
                if record.sequence <= low:
                    continue
                if record.sequence >= end:
                    return records, None
                if len(records) == limit or (records and size + len(record.body) > max_bytes):
                    return records, records[-1].sequence
                records.append(record)
                size += len(record.body)
            offset = next_offset
            before = found[-1].sequence if found else before
        view.let_go(index)
    return records, None


def _read_backwards(
    view: LogView, low: int, end: int, limit: int, max_bytes: int
) -> tuple[list[Record], int | None]:
    records: list[Record] = []
    size = 0
    for index in range(view.index_of(end - 1), -1, -1):
        segment = view.segment(index)
        upper = min(view.upper(index) or end, end)
        offset = segment.size if end > view.head else _end_of(segment, end)
        while offset > 0:
            lines, start = segment.lines_before(
                offset, limit=limit - len(records) + 1, max_bytes=max(max_bytes - size, 1)
            )
            found = _parse_ascending(lines, segment.first - 1)
            if found is None or not is_intact(view.agent, found[0]) or not is_intact(view.agent, found[-1]):
                lines, start, before = _down_to_intact(segment, lines, start)
                found = sort_out(view.agent, lines, before, upper)
            for record in reversed(found):
                if record.sequence >= end:
                    continue
                if record.sequence <= low:
                    return records, None
                if len(records) == limit or (records and size + len(record.body) > max_bytes):
                    return records, records[-1].sequence
                records.append(record)
                size += len(record.body)
            offset = start
            upper = found[0].sequence if found else upper
        view.let_go(index)
    return records, None


def _parse_ascending(lines: list[bytes], before: int) -> list[Record] | None:
    """The records of lines that can all be read and stand in order; None when not. Checksums are not compared."""
    records: list[Record] = []
    for line in lines:
        try:
            record = parse_line(line)
        except DamagedLineError:
            return None
        if record.sequence <= before:
            return None
        before = record.sequence
        records.append(record)
    return records


def _end_of(segment: Segment, end: int) -> int:
    """The offset after everything below ``end``, and perhaps a little more."""
    return _skip(segment, segment.find(end - 1).offset, lambda record: record.sequence >= end)


def _skip(segment: Segment, offset: int, beyond: Callable[[Record], bool]) -> int:
    """The offset of the first undamaged line that is ``beyond``, from ``offset`` on."""
    while offset < segment.size:
        lines, next_offset = segment.lines(offset, limit=256, max_bytes=1 << 20)
        for line in lines:
            record = intact_record(segment.agent, line)
            if record is not None and beyond(record):
                return offset
            offset += len(line) + 1
        offset = next_offset
    return segment.size


def _up_to_intact(segment: Segment, lines: list[bytes], offset: int) -> tuple[list[bytes], int]:
    """More lines, until the last one is undamaged or the segment ends, so that numbers can be told."""
    while offset < segment.size and intact_record(segment.agent, lines[-1]) is None:
        more, offset = segment.lines(offset, limit=1, max_bytes=1)
        lines = lines + more
    return lines, offset


def _down_to_intact(segment: Segment, lines: list[bytes], start: int) -> tuple[list[bytes], int, int]:
    """More lines before, until the first one is undamaged or the segment begins, and the sequence before it."""
    while True:
        first = intact_record(segment.agent, lines[0])
        if first is not None:
            return lines, start, first.sequence - 1
        if start == 0:
            return lines, 0, segment.first - 1
        more, start = segment.lines_before(start, limit=1, max_bytes=1)
        lines = more + lines
