"""Listings of names: the agents of a namespace, the keys of documents, in code-point order."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable

from oacp_storage_file.naming import Kind, decode, encode, is_hashed

_KEPT = 64
_RACY_NS = 50_000_000  # a directory changed this recently may change again with the same time


class Listings:
    """Sorted names by directory, kept as long as the directory does not change. For use by any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, tuple[tuple[int, int], list[str]]] = OrderedDict()

    def names(
        self, directory: str, kind: Kind, suffix: str, whole_name: Callable[[str], str | None]
    ) -> list[str]:
        """All names in a directory; not to be changed. ``whole_name`` reads a hashed one from a path."""
        with self._guard:
            return self._names(directory, kind, suffix, whole_name)

    def _names(
        self, directory: str, kind: Kind, suffix: str, whole_name: Callable[[str], str | None]
    ) -> list[str]:
        try:
            stat = os.stat(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        stamp = (stat.st_ino, stat.st_mtime_ns)
        kept = self._kept.get(directory)
        if kept is not None and kept[0] == stamp:
            self._kept.move_to_end(directory)
            return kept[1]
        names = sorted(
            name
            for entry in os.listdir(directory)
            if (name := _name(directory, entry, kind, suffix, whole_name)) is not None
        )
        if time.time_ns() - stat.st_mtime_ns > _RACY_NS:
            if len(self._kept) >= _KEPT:
                self._kept.popitem(last=False)
            self._kept[directory] = (stamp, names)
        return names


def _name(
    directory: str, entry: str, kind: Kind, suffix: str, whole_name: Callable[[str], str | None]
) -> str | None:
    if not entry.endswith(suffix):
        return None
    stem = entry.removesuffix(suffix)
    if not is_hashed(kind, stem):
        return decode(kind, stem)
    name = whole_name(f"{directory}/{entry}")
    return name if name is not None and encode(kind, name) == stem else None


def select(names: list[str], *, prefix: str, after: str | None, limit: int) -> list[str]:
    """At most ``limit`` of the sorted names that begin with ``prefix`` and come after ``after``."""
    start = max(0 if after is None else bisect_right(names, after), bisect_left(names, prefix))
    end = start
    while end < len(names) and end - start < limit and names[end].startswith(prefix):
        end += 1
    return names[start:end]
