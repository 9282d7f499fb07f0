"""Compressed streams, told apart by their first bytes, read and written piece by piece.

A cut or damaged stream is an error, never a shorter file. Zstandard's library is loaded only where it is needed.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class ZstandardError(Exception):
    """Zstandard frames are damaged."""


DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, ZstandardError)
"""What reading raises when the compressed data is cut off or damaged."""

_BUFFER = 256 * 1024
# A slice of this size can unfold to 8 MiB at the worst.
_ZSTD_SLICE = 256


class CountedInput(io.RawIOBase):
    """A binary stream whose first bytes can be looked at, and which counts what was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._start = stream.read(len(ZSTD_MAGIC))
        self.head = self._start
        self.consumed = 0

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the buffers that come
        """Fill the buffer, first with what was looked at already."""
        piece = self._start[: len(buffer)] or self._stream.read(len(buffer))
        self._start = self._start[len(buffer) :]
        buffer[: len(piece)] = piece
        self.consumed += len(piece)
        return len(piece)


def decompressed(source: CountedInput) -> BinaryIO:
    """The stream as it was before compression by gzip or Zstandard; any other stream as it is."""
    if source.head.startswith(GZIP_MAGIC):
        return io.BufferedReader(gzip.GzipFile(fileobj=io.BufferedReader(source, _BUFFER)), _BUFFER)
    if source.head == ZSTD_MAGIC:
        return io.BufferedReader(_ZstdReader(source), _BUFFER)
    return io.BufferedReader(source, _BUFFER)


class _ZstdReader(io.RawIOBase):
    """Zstandard frames, one after another. The library's own reader takes a cut frame for the end of the file."""

    def __init__(self, source: io.RawIOBase) -> None:
        import zstandard

        self._source = io.BufferedReader(source, _BUFFER)
        self._library = zstandard
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._at_start = True
        self._pending = memoryview(b"")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the buffers that come
        while not self._pending:
            piece = self._rest or self._source.read(_ZSTD_SLICE)
            self._rest = b""
            if not piece:
                if self._at_start:
                    return 0
                raise EOFError("the last frame is not complete")
            self._at_start = False
            try:
                self._pending = memoryview(self._frame.decompress(piece))
            except self._library.ZstdError as exc:
                raise ZstandardError(str(exc)) from exc
            if self._frame.eof:
                self._rest = self._frame.unused_data
                self._frame = self._library.ZstdDecompressor().decompressobj()
                self._at_start = True
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size


@contextmanager
def compressed(target: BinaryIO, name: Path) -> Iterator[BinaryIO]:
    """A stream to write to: compressed into ``target`` as the end of the name says, ``.gz`` or ``.zst``.

    The same data gives the same bytes: no name and no time is written.
    """
    if name.suffix == ".gz":
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as stream:
            yield stream  # type: ignore[misc]  # a writable binary stream, whatever typeshed calls it
    elif name.suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor().stream_writer(target, closefd=False) as stream:
            yield stream
    else:
        yield target
