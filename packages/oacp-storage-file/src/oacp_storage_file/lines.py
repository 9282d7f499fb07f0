"""Lines of a log: one interaction each, as JSON that a person can read and from which its bytes come back.

``{"sequence":17,"id":"...","timestamp":"2026-01-02T03:04:05.678901Z","crc":123,"data":{...}}`` with the exact
canonical bytes of the payload last. ``crc`` is the record's checksum XOR that of the sequence, which the
former does not cover.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import msgspec

from oacp_storage_core.times import from_us, to_us
from oacp_storage_engine import Record, interaction_crc

_encode_text = msgspec.json.Encoder().encode

_SECONDS_KEPT = 4096
_second_texts: dict[int, bytes] = {}
_latest_text = (0, b"1970-01-01T00:00:00.000000Z")  # one call's interactions have one time
_second_values: dict[str, int] = {}


class Line(msgspec.Struct):
    """The parsed line; ``data`` holds the payload's exact bytes."""

    sequence: int
    id: str
    timestamp: str
    crc: int
    data: msgspec.Raw


_decode_line = msgspec.json.Decoder(Line).decode

START = re.compile(rb'\{"sequence":(\d{1,19}),"id":"')
"""How every line begins."""


class DamagedLineError(ValueError):
    """A line is not as it was written."""


def format_time(at_us: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC, always of 27 characters."""
    return _time_text(at_us).decode()


def _time_text(at_us: int) -> bytes:
    global _latest_text  # noqa: PLW0603 - a cache of one
    latest, text = _latest_text
    if latest != at_us:
        seconds, micros = divmod(at_us, 1_000_000)
        text = b"%b.%06dZ" % (_second_text(seconds), micros)
        _latest_text = (at_us, text)
    return text


def _second_text(seconds: int) -> bytes:
    text = _second_texts.get(seconds)
    if text is None:
        text = from_us(seconds * 1_000_000).replace(tzinfo=None).isoformat().encode()
        _remember(_second_texts, seconds, text)
    return text


def parse_time(text: str) -> int:
    """The reverse of ``format_time``; ``DamagedLineError`` for anything that it does not write."""
    second, micros = text[:19], text[20:26]
    seconds = _second_values.get(second)
    if seconds is None:
        try:
            moment = datetime.fromisoformat(second)
        except ValueError:
            raise DamagedLineError(f"{text!r:.60} is not a time") from None
        if moment.tzinfo is not None or moment.isoformat() != second:
            raise DamagedLineError(f"{text!r:.60} is not a time as it is written here")
        seconds = to_us(moment.replace(tzinfo=UTC)) // 1_000_000
        _remember(_second_values, second, seconds)
    if len(text) != 27 or text[19] != "." or text[26] != "Z" or not (micros.isascii() and micros.isdigit()):
        raise DamagedLineError(f"{text!r:.60} is not a time as it is written here")
    return seconds * 1_000_000 + int(micros)


def _remember(cache: dict[Any, Any], key: object, value: object) -> None:
    if len(cache) >= _SECONDS_KEPT:
        cache.clear()
    cache[key] = value


def format_line(sequence: int, interaction_id: str, at_us: int, crc: int, body: bytes) -> bytes:
    """The line of an interaction, with its line end. ``crc`` is the record's own checksum."""
    number = b"%d" % sequence
    return b'{"sequence":%b,"id":%b,"timestamp":"%b","crc":%d,"data":%b}\n' % (
        number,
        _encode_text(interaction_id),
        _time_text(at_us),
        crc ^ crc32(number),
        body,
    )


def parse_line(line: bytes) -> Record:
    """The record of a line without its line end, its checksum not yet compared.

    Raises ``DamagedLineError`` when the line cannot be read at all.
    """
    try:
        sequence, interaction_id, timestamp, crc, data = msgspec.structs.astuple(_decode_line(line))
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise DamagedLineError(f"its line is not as it was written ({exc})") from None
    return Record(sequence, interaction_id, parse_time(timestamp), bytes(data), crc ^ crc32(b"%d" % sequence))


def is_intact(agent: str, record: Record) -> bool:
    """Whether the record's checksum, and with it its sequence, is right."""
    return interaction_crc(agent, record.id, record.at_us, record.body) == record.crc


def is_whole(rest: bytes) -> bool:
    """Whether bytes without a line end are a whole record, perhaps with its line end damaged."""
    for candidate in (rest, rest[:-1]):
        try:
            parse_line(candidate)
        except DamagedLineError:
            continue
        return True
    return False
