"""Units as a script takes them, and its answers as outcomes, records and documents."""

from __future__ import annotations

from oacp_storage_core import StorageError
from oacp_storage_engine import Applied, Conflict, Doc, DocKind, Duplicate, Outcome, Record, Unit
from oacp_storage_redis.layout import DIGITS, KIND_LETTERS, bucket_of


def unit_arguments(unit: Unit) -> list[bytes]:
    """The unit as ``commit.lua`` reads it."""
    digits = DIGITS[bucket_of(unit.slot.name)]
    appends = unit.appends
    if unit.agent is None:
        arguments = [b"s" + digits, b"", b"0"]
    elif all(not append.given and append.sequence is None for append in appends):
        name = unit.agent.encode()
        if len(appends) == 1 and not unit.puts:
            interaction, _, at_us, body, crc, _ = appends[0]
            return [b"x" + digits, name, interaction.encode(), b"%d" % at_us, b"%d" % crc, body]
        arguments = [b"y" + digits, name, b"%d" % len(appends)]
        for interaction, _, at_us, body, crc, _ in appends:
            arguments += (interaction.encode(), b"%d" % at_us, b"%d" % crc, body)
    else:
        arguments = [(b"t" if unit.turn else b"a") + digits, unit.agent.encode(), b"%d" % len(appends)]
        for interaction, given, at_us, body, crc, sequence in appends:
            arguments += (
                interaction.encode(),
                b"%d" % at_us,
                b"%d" % crc,
                body,
                b"1" if given else b"0",
                _number(sequence),
            )
    arguments.append(b"%d" % len(unit.puts))
    for put in unit.puts:
        arguments += (
            KIND_LETTERS[put.kind] + put.key.encode(),
            b"d" if put.body is None else b"p",
            b"%d\n%d" % (put.at_us, put.crc),
            put.body or b"",
            _number(put.expected),
            _number(put.version),
        )
    return arguments


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


def fields_of(kind: DocKind, key: str) -> tuple[bytes, bytes]:
    """The fields of a document in its hash: what describes it ("version, at, crc" in lines), and its body."""
    field = KIND_LETTERS[kind] + key.encode()
    return b"v" + field, field


def document_of(key: str, described: bytes | None, body: bytes | None) -> Doc | None:
    """The document from its two fields."""
    if described is None and body is None:
        return None
    try:
        version, at, crc = (described or b"").split(b"\n")
        return Doc(key, int(version), int(at), body or b"", int(crc))
    except ValueError:
        return Doc(key, 0, 0, b"", 0, "it has another form than oacp-storage writes")
