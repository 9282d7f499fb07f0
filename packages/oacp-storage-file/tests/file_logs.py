"""Logs written to files directly, and read back in every way."""

from __future__ import annotations

import random
from pathlib import Path

from oacp_storage_core.payload import encode
from oacp_storage_engine import Record, interaction_crc
from oacp_storage_file.layout import Layout, NamespaceLayout, segment_name
from oacp_storage_file.lines import format_line, is_intact
from oacp_storage_file.log_reader import read_page
from oacp_storage_file.log_view import LogView

AGENT = "the agent"
AT = 1_700_000_000_000_000


def record(sequence: int, size: int = 20) -> Record:
    body, _ = encode({"n": sequence, "text": "x" * size})
    one, at_us = f"id-{sequence}", AT + sequence
    return Record(sequence, one, at_us, body, interaction_crc(AGENT, one, at_us, body))


def line(of: Record) -> bytes:
    return format_line(of.sequence, of.id, of.at_us, of.crc, of.body)


def write_log(root: Path, segments: list[list[Record]]) -> list[Path]:
    """The files of a log, each named by its first record."""
    directory = root / "namespaces" / NamespaceLayout("default").agent(AGENT)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for records in segments:
        path = directory / segment_name(records[0].sequence)
        path.write_bytes(b"".join(map(line, records)))
        paths.append(path)
    return paths


def view(root: Path) -> LogView:
    return LogView(Layout(str(root)), NamespaceLayout("default"), AGENT)


def read_all(root: Path, *, limit: int, reverse: bool = False, max_bytes: int = 10**9) -> list[Record]:
    """The whole log, page by page, in ascending order."""
    found: list[Record] = []
    low, high = 0, None
    with view(root) as log:
        while True:
            page = read_page(log, low, high, reverse=reverse, limit=limit, max_bytes=max_bytes)
            assert len(page.records) <= limit
            found += page.records
            if page.next is None:
                break
            if reverse:
                assert high is None or page.next < high
                high = page.next
            else:
                assert page.next > low
                low = page.next
    return found[::-1] if reverse else found


def judged(records: list[Record]) -> dict[int, Record | None]:
    """By sequence: the record where it is as it was written, None where it is known to be damaged."""
    found: dict[int, Record | None] = {}
    for one in records:
        assert one.sequence not in found, f"{one.sequence} came twice"
        sound = one.damage is None and is_intact(AGENT, one)
        found[one.sequence] = one if sound else None
    assert list(found) == sorted(found)
    return found


def random_log(rng: random.Random, *, holes: bool) -> list[list[Record]]:
    """One to three segments of records, some of them long."""
    segments: list[list[Record]] = []
    sequence = 0
    for _ in range(rng.randint(1, 3)):
        segment = []
        for _ in range(rng.randint(1, 60)):
            sequence += rng.choice((1, 1, 1, 1, rng.randint(1, 5))) if holes else 1
            segment.append(record(sequence, rng.choice((0, 10, 200, 5000 if rng.random() < 0.1 else 50))))
        segments.append(segment)
    return segments
