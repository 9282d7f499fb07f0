"""Backups in the background: one daemon thread a process, one backup at a time over all processes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from oacp_storage_core import StorageError
from oacp_storage_file.backups import changed_since, list_backups, take_backup, taken_at
from oacp_storage_file.layout import Layout
from oacp_storage_file.store import Store

_log = logging.getLogger("oacp_storage_file")

_LONGEST_SLEEP = 60.0  # so that a backup is not late by much after the machine slept


class Schedule(NamedTuple):
    """When to take backups, and how many to keep."""

    interval: float
    keep: int


class AutoBackup:
    """Takes a backup whenever the newest is ``interval`` seconds old and something changed since.

    Before the first one, the age of the store counts. ``trouble`` says why the last attempt failed.
    """

    def __init__(self, layout: Layout, open_store: Callable[[], Store], schedule: Schedule) -> None:
        self._layout = layout
        self._open_store = open_store
        self._schedule = schedule
        self._stopped = threading.Event()
        self._not_before = 0.0
        self.trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="oacp-storage backups", daemon=True)
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Begin no more backups, and wait up to ``patience`` seconds for one under way."""
        self._stopped.set()
        self._thread.join(patience)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            try:
                self._take_if_due()
                pause = min(max(self._due() - time.time(), 0.01), _LONGEST_SLEEP)
                self.trouble = None
            except (OSError, StorageError) as exc:
                pause = min(self._schedule.interval, _LONGEST_SLEEP)
                self.trouble = f"The backup of {self._layout.root} failed and is tried again: {exc}."
                _log.warning("%s", self.trouble)

    def _due(self) -> float:
        backups = list_backups(self._layout)
        begun = os.stat(self._layout.format_file).st_mtime
        newest = taken_at(backups[-1]).timestamp() if backups else begun
        return max(newest + self._schedule.interval, self._not_before)

    def _take_if_due(self) -> None:
        if self._due() > time.time():
            return
        # Also where there is nothing to do, or another process is at it.
        self._not_before = time.time() + min(self._schedule.interval, _LONGEST_SLEEP)
        store = self._open_store()
        try:
            with store.locked():
                counter = store.position.counter
            if changed_since(self._layout, counter):
                take_backup(store, self._schedule.keep)
        finally:
            store.abandon()
