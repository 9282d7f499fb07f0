"""Reading input: compression told by the first bytes, damage, long lines, and what is passed over."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from oacp_storage.compression import CountedInput, compressed, decompressed
from oacp_storage.exits import Status, Stop
from oacp_storage.lines import MAX_LINE_BYTES, Line, open_input

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))


def lines_of(path: Path) -> list[Line]:
    with open_input(str(path)) as source:
        return list(source.lines())


def packed(kind: str, text: bytes) -> bytes:
    match kind:
        case "gzip":
            return gzip.compress(text)
        case "zstd":
            return zstandard.ZstdCompressor(write_checksum=True).compress(text)
        case "zstd without size":
            made = zstandard.ZstdCompressor(write_content_size=False).compressobj()
            return made.compress(text) + made.flush()
        case _:
            return text


class Trickle(io.RawIOBase):
    """A stream that gives one byte at a time, as a slow pipe does."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        byte = self._data.read(1)
        buffer[: len(byte)] = byte
        return len(byte)


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd", "zstd without size"])
def test_compression_is_told_by_the_first_bytes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(packed(kind, TEXT))
    lines = lines_of(path)
    assert b"".join(line.text or b"" for line in lines) == TEXT
    assert [line.number for line in lines] == list(range(1, 50_001))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_parts_packed_one_after_another_are_one_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(packed(kind, TEXT) + packed(kind, b"") + packed(kind, b"last\n"))
    assert lines_of(path)[-1] == Line(50_001, b"last\n")


def test_a_zstd_frame_that_is_to_be_skipped_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"xyz"
    path.write_bytes(packed("zstd", b"one\n") + skippable + packed("zstd", b"two\n"))
    assert [line.text for line in lines_of(path)] == [b"one\n", b"two\n"]


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
def test_a_slow_pipe_is_read_just_as_well(kind: str) -> None:
    source = CountedInput(io.BufferedReader(Trickle(packed(kind, b"one\ntwo\n")), 1))
    assert decompressed(source).read() == b"one\ntwo\n"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zstd without size"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_file_is_an_error(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    whole = packed(kind, TEXT)
    path.write_bytes(whole[: int(len(whole) * share)])
    read: list[Line] = []
    with (
        open_input(str(path)) as source,
        pytest.raises(Stop, match="cut off or damaged after line") as caught,
    ):
        read.extend(source.lines())
    assert caught.value.status is Status.FAILED


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_damaged_file_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    whole = bytearray(packed(kind, TEXT))
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(Stop, match="cut off or damaged"):
        lines_of(path)


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf{}\r\n\n  \r\n{}\n\t\n{}")
    assert lines_of(path) == [Line(1, b"{}\r\n"), Line(4, b"{}\n"), Line(6, b"{}")]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert lines_of(path) == []


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    text = '{"a": "\u2028\u2029\x85\x0b\x0c"}\n'.encode()
    path.write_bytes(text)
    assert lines_of(path) == [Line(1, text)]


def test_a_line_at_the_limit_and_one_over_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    longest = b"x" * MAX_LINE_BYTES
    path.write_bytes(
        longest + b"\n" + b"y" * (MAX_LINE_BYTES + 1) + b"\nshort\n" + b"z" * (MAX_LINE_BYTES + 1)
    )
    first, second, third, fourth = lines_of(path)
    assert first == Line(1, longest + b"\n")
    assert (second, third, fourth) == (Line(2, None), Line(3, b"short\n"), Line(4, None))


def test_a_huge_line_is_never_held(tmp_path: Path) -> None:
    """300 MB in one line, 1 MB packed."""
    path = tmp_path / "file"
    with gzip.open(path, "wb", compresslevel=1) as packed_file:
        for _ in range(300):
            packed_file.write(b"x" * 1_000_000)
        packed_file.write(b"\n{}\n")
    tracemalloc.start()
    try:
        with open_input(str(path)) as source:
            assert list(source.lines()) == [Line(1, None), Line(2, b"{}\n")]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A line is read up to the limit before it is known to be too long; its pieces are joined once.
    assert peak < 3 * MAX_LINE_BYTES


def test_a_zstd_bomb_unfolds_piece_by_piece(tmp_path: Path) -> None:
    """200 MB in some 20 KB."""
    path = tmp_path / "bomb"
    path.write_bytes(zstandard.ZstdCompressor(level=19).compress((b"x" * 999_999 + b"\n") * 200))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        with open_input(str(path)) as source:
            assert sum(len(line.text or b"") for line in source.lines()) == 200_000_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


def test_how_much_of_the_file_was_read_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(packed("gzip", TEXT))
    with open_input(str(path)) as source:
        assert source.size == path.stat().st_size
        for _ in source.lines():
            pass
        assert source.consumed == source.size


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_what_is_written_compressed_reads_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file.jsonl{suffix}"
    made = []
    for _ in range(2):
        with path.open("wb") as file, compressed(file, path) as stream:
            stream.write(TEXT)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert suffix != ".gz" or made[0][4:8] == bytes(4)  # no time in the header: the same at any time
    assert b"".join(line.text or b"" for line in lines_of(path)) == TEXT
    assert (len(made[0]) < len(TEXT) / 3) == bool(suffix)
