"""Optimistic reads: taken without a lock, and kept only if no commit was being applied meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from oacp_storage_file.format_mark import FormatMark
from oacp_storage_file.seqlock import Position, SequenceLock

T = TypeVar("T")

_PAUSES = (0.0, 0.0001, 0.0002, 0.0005)  # seconds; applying a usual commit takes as long


class NotQuietError(Exception):
    """Commits were being applied at every try."""


class QuietReads:
    """Reads by the sequence lock, from any thread."""

    def __init__(self, mark: FormatMark, shared: SequenceLock) -> None:
        self._mark = mark
        self._shared = shared

    def position(self) -> Position | None:
        """Where the store stands at this moment, None while that changes."""
        return self._shared.read()

    def take(self, look: Callable[[], T], drop: Callable[[T], None] | None = None) -> T:
        """What ``look`` finds at a moment when no commit is half applied; it may be called several times.

        ``drop`` releases what was found in vain. Raises ``NotQuietError``, and what ``look`` raises.
        """
        self._mark.check()
        for pause in _PAUSES:
            if pause:
                time.sleep(pause)
            before = self._shared.read()
            if before is None or not before.settled:
                continue
            try:
                found = look()
            except FileNotFoundError:
                continue  # renamed or removed under our eyes
            after = self._shared.read()
            if after is not None and after.counter == before.counter:
                return found
            if drop is not None:
                drop(found)
        raise NotQuietError

    def close(self) -> None:
        """Close the sequence lock's file."""
        self._shared.close()
