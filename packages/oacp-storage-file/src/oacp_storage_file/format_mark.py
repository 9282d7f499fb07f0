"""The format mark: what says that a directory is a store of ours, and of which schema version."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import msgspec

from oacp_storage_core import SchemaVersionError, StorageConfigError
from oacp_storage_engine import pending_upgrades
from oacp_storage_file.disk import Disk, read_file, replace_file
from oacp_storage_file.layout import FORMAT, Layout

Upgrade = Callable[[Disk, Layout], None]
"""Brings a store from one schema version to the next, under the commit lock. It may be interrupted and run
again, so it must be idempotent."""

_RACY_NS = 50_000_000  # a file changed within this time of being read may change again with the same time


class Mark(msgspec.Struct):
    """The content of ``format.json``."""

    format: str
    schema: int


class FormatMark:
    """The mark of one store, as this release knows and checks it."""

    def __init__(self, disk: Disk, layout: Layout, schema: int, upgrades: Mapping[int, Upgrade]) -> None:
        self._disk = disk
        self._layout = layout
        self._schema = schema
        self._upgrades = upgrades
        self._seen: tuple[int, int, int] | None = None

    def create_or_judge(self) -> None:
        """Mark a new store; ``SchemaVersionError`` for one that this release cannot bring to its version."""
        if os.path.exists(self._layout.format_file):
            self._pending()
        else:
            self._write(self._schema)

    def upgrade(self) -> None:
        """Bring an older store up to this release; under the commit lock, after recovery."""
        for version, upgrade in self._pending():
            upgrade(self._disk, self._layout)
            self._write(version)

    def _pending(self) -> list[tuple[int, Upgrade]]:
        found = read_schema(self._layout)
        return pending_upgrades(f"the store in {self._layout.root}", found, self._schema, self._upgrades)

    def check(self) -> None:
        """``SchemaVersionError`` unless the store has this release's version, now."""
        try:
            stat = os.stat(self._layout.format_file)
        except FileNotFoundError:
            raise StorageConfigError(
                f"{self._layout.format_file} is gone: the store was removed or moved while it was in use"
            ) from None
        now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if now == self._seen:
            return
        found = read_schema(self._layout)
        if found != self._schema:
            raise SchemaVersionError(
                f"the store in {self._layout.root} has schema version {found} now, and this process works "
                f"with {self._schema}: another release upgraded it; restart with that release"
            )
        if time.time_ns() - stat.st_mtime_ns > _RACY_NS:
            self._seen = now

    def _write(self, schema: int) -> None:
        content = msgspec.json.format(msgspec.json.encode(Mark(FORMAT, schema)), indent=2) + b"\n"
        replace_file(self._disk, self._layout.format_file, f"{self._layout.temporary}/format", content)


def read_schema(layout: Layout) -> int:
    """The schema version of a store; ``StorageConfigError`` when it is none of ours."""
    try:
        mark = msgspec.json.decode(read_file(layout.format_file), type=Mark)
    except (OSError, msgspec.MsgspecError) as exc:
        raise StorageConfigError(
            f"{layout.format_file} cannot be read as the mark of an oacp-storage directory ({exc}): name another "
            "directory, or restore a backup of this one"
        ) from exc
    if mark.format != FORMAT:
        raise StorageConfigError(
            f"{layout.root} is not a store of {FORMAT}, its format.json says {mark.format!r:.60}: name another "
            "directory"
        )
    return mark.schema
