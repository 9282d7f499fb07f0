"""The input of an import: numbered lines of a file or of stdin, in bounded memory."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from oacp_storage.compression import DAMAGED, CountedInput, decompressed
from oacp_storage.exits import Status, Stop
from oacp_storage.interruptible import interruptible
from oacp_storage_core.payload import MAX_PAYLOAD_BYTES

MAX_LINE_BYTES = MAX_PAYLOAD_BYTES + 64 * 1024
"""A payload at its limit, and room for agent id, interaction id and time. Longer lines are never held in memory."""

_BOM = b"\xef\xbb\xbf"
_SKIP = 1024 * 1024


class Line(NamedTuple):
    """One line, without its end. ``text`` is None when it is longer than ``MAX_LINE_BYTES``."""

    number: int
    text: bytes | None


class Input:
    """An open input. ``size`` is that of the file in bytes, None for a pipe; ``modified`` when it last changed.

    From a pipe, ``modified`` is now: it was written just then.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.size: int | None = None
        self.modified = datetime.now(UTC)
        if _is_regular(stream):
            facts = os.fstat(stream.fileno())
            self.size = facts.st_size
            self.modified = datetime.fromtimestamp(facts.st_mtime, UTC)
        self._source = CountedInput(stream)

    @property
    def consumed(self) -> int:
        """How many bytes of the file have been read, before decompression."""
        return self._source.consumed

    def lines(self) -> Iterator[Line]:
        """All lines but blank ones, counted from 1. A byte order mark at the start is passed over."""
        stream = decompressed(self._source)
        number = 0
        while True:
            try:
                line = _read_line(stream, number + 1)
            except DAMAGED as exc:
                raise Stop(
                    f"{self.name}: the compressed data is cut off or damaged after line {number} ({exc}); what came "
                    "before it has been read",
                    Status.FAILED,
                ) from exc
            if line is None:
                return
            number = line.number
            taken = [line] if line.text is None or not line.text.isspace() else []
            del line  # a long one shall not live on here while it is worked on
            while taken:
                yield taken.pop()


def _read_line(stream: BinaryIO, number: int) -> Line | None:
    text = stream.readline(MAX_LINE_BYTES + 1)
    if not text:
        return None
    if len(text) <= MAX_LINE_BYTES or text.endswith(b"\n"):
        return Line(number, text.removeprefix(_BOM) if number == 1 else text)
    while text and not text.endswith(b"\n"):
        text = stream.readline(_SKIP)
    return Line(number, None)


@contextmanager
def open_input(name: str) -> Iterator[Input]:
    """The file of that name, or stdin for ``-``. ``Stop`` when it cannot be opened."""
    if name == "-":
        with _unblocked(sys.stdin.buffer) as stream:
            yield Input("stdin", stream)
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below; only opening it may fail like this
    except OSError as exc:
        raise Stop(f"{name}: {exc.strerror}", Status.USAGE) from exc
    with file, _unblocked(file) as stream:
        yield Input(name, stream)


def _unblocked(stream: BinaryIO) -> AbstractContextManager[BinaryIO]:
    """A file is always there to be read; whatever else it may be, it can keep us waiting."""
    return nullcontext(stream) if _is_regular(stream) else interruptible(stream)


def _is_regular(stream: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
