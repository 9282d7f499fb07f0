"""Units as a script takes them, and its answers as outcomes, records and documents."""

from __future__ import annotations

from collections.abc import Sequence

from oacp_storage_core import StorageError
from oacp_storage_engine import Applied, Conflict, Doc, Duplicate, Outcome, Put, Record, Unit
from oacp_storage_redis.layout import DIGITS, KIND_LETTERS, bucket_of


def unit_arguments(unit: Unit) -> list[bytes]:
    """The unit as ``commit.lua`` reads it."""
    digits = DIGITS[bucket_of(unit.slot.name)]
    if unit.agent is None:
        arguments = [b"s" + digits, b"", b"0"]
    else:
        name = unit.agent.encode()
        if len(unit.appends) == 1 and not unit.puts:
            append = unit.appends[0]
            if not append.given and append.sequence is None:
                at, crc = b"%d" % append.at_us, b"%d" % append.crc
                return [b"x" + digits, name, append.id.encode(), at, crc, append.body]
        arguments = [(b"t" if unit.turn else b"a") + digits, name, b"%d" % len(unit.appends)]
        for append in unit.appends:
            arguments += (
                append.id.encode(),
                b"1" if append.given else b"0",
                b"%d" % append.at_us,
                b"%d" % append.crc,
                append.body,
                _number(append.sequence),
            )
    arguments.append(b"%d" % len(unit.puts))
    for put in unit.puts:
        arguments += _put_arguments(put)
    return arguments


def _put_arguments(put: Put) -> list[bytes]:
    return [
        KIND_LETTERS[put.kind],
        put.key.encode(),
        b"d" if put.body is None else b"p",
        b"%d" % put.at_us,
        b"%d" % put.crc,
        put.body or b"",
        _number(put.expected),
        _number(put.version),
    ]


def _number(number: int | None) -> bytes:
    return b"" if number is None else b"%d" % number


def outcomes_of(answer: bytes) -> list[Outcome]:
    """One outcome per line of ``commit.lua``'s answer."""
    return [_outcome(line) for line in answer.split(b"\n")]


def _outcome(line: bytes) -> Outcome:
    if line.isdigit():
        return Applied((int(line),))
    parts = line[1:].split(b"|")
    if line.startswith(b"C"):
        return Conflict(int(parts[0]), int(parts[1]))
    if line.startswith(b"D"):
        return Duplicate(int(parts[0]), int(parts[1]))
    sequences, versions, existing = (tuple(map(int, part.split(b","))) if part else () for part in parts[:3])
    return Applied(sequences, versions, existing, replayed=parts[3] == b"1")


def records_of(described: bytes, bodies: bytes) -> list[Record]:
    """The records that ``packing`` in ``entries.lua`` put together."""
    if not described:
        return []
    parts = described.split(b"\0")
    if len(parts) % 5:
        raise StorageError("a page of a log has another form than this release knows")
    records, start = [], 0
    for i in range(0, len(parts), 5):
        sequence, name, at, crc, size = parts[i : i + 5]
        end = start + int(size)
        records.append(_record(int(sequence), name, at, crc, bodies[start:end]))
        start = end
    return records


def _record(sequence: int, name: bytes, at: bytes, crc: bytes, body: bytes) -> Record:
    try:
        return Record(sequence, name.decode(), int(at), body, int(crc))
    except ValueError:
        return Record(sequence, "", 0, b"", 0, "its entry has another form than oacp-storage writes")


def documents_of(keys: Sequence[str], stored: Sequence[bytes | None]) -> list[Doc | None]:
    """Documents from the texts of their hash fields."""
    return [None if text is None else _document(key, text) for key, text in zip(keys, stored, strict=True)]


def _document(key: str, text: bytes) -> Doc:
    try:
        version, at, crc, body = text.split(b"\n", 3)
        return Doc(key, int(version), int(at), body, int(crc))
    except ValueError:
        return Doc(key, 0, 0, b"", 0, "it has another form than oacp-storage writes")
