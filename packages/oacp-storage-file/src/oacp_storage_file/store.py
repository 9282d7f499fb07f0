"""The store: one directory, its commit lock, its journal, and how all processes agree on where it stands."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from oacp_storage_core import OutcomeUnknownError, StorageError

from oacp_storage_file import journal as journals
from oacp_storage_file.caches import Caches
from oacp_storage_file.disk import Disk
from oacp_storage_file.format_mark import FormatMark, Upgrade
from oacp_storage_file.journal import Journal, JournalSyncError
from oacp_storage_file.journal_format import Write, format_group
from oacp_storage_file.layout import SCHEMA, Layout
from oacp_storage_file.locks import CommitLock, LockFile
from oacp_storage_file.place import claim_directory, write_guides
from oacp_storage_file.readable_files import ReadableFiles, Staged
from oacp_storage_file.recovery import redo
from oacp_storage_file.seqlock import Position, SequenceLock

_log = logging.getLogger("oacp_storage_file")



def _nothing() -> None:
    """What a store does by default when it has the lock."""


JOURNAL_LIMIT = 32 * 1024 * 1024
"""A journal longer than this is closed by a checkpoint, so that recovery stays short."""


class Store:
    """One process's access to a store. Everything but reading ``position`` happens in one thread.

    **Commit.** Under the commit lock: one group into the journal, one sync, then the readable files.

    **Position.** What a process remembers (``caches``, open files) holds for the ``position`` it last saw;
    ``locked`` brings both up to date, and finishes what a dead process left.

    **Checkpoint.** The readable files are synced, and a new journal begins.
    """

    def __init__(
        self, layout: Layout, disk: Disk, *, schema: int = SCHEMA, upgrades: Mapping[int, Upgrade] | None = None
    ) -> None:
        self.layout = layout
        self.disk = disk
        self.caches = Caches()
        self.files = ReadableFiles(disk, layout)
        self.mark = FormatMark(disk, layout, schema, upgrades or {})
        self.trouble: str | None = None
        self.on_lock: Callable[[], None] = _nothing
        self._lock: CommitLock | None = None
        self._in_use: LockFile | None = None
        self._shared: SequenceLock | None = None
        self._journal: Journal | None = None
        self._position: Position | None = None

    # --- opening and closing ------------------------------------------------------------------------------

    def open(self) -> None:
        """Make or check the directory, upgrade it, and recover it if nobody else is using it."""
        claim_directory(self.disk, self.layout)
        self._lock = CommitLock(self.layout.inner("line.lock"), self.layout.inner("commit.lock"))
        self._in_use = LockFile(self.layout.inner("in-use.lock"))
        with self._lock.held():
            alone = self._in_use.try_acquire()
            self.mark.create_or_upgrade()
            write_guides(self.disk, self.layout)
            self._shared = SequenceLock(self.disk, self.layout.inner("position"))
            if alone:
                # After a power cut the readable files may lack what was written to them since they were synced.
                self._recover()
            else:
                self._catch_up()
            self._in_use.share()

    def close(self) -> None:
        """Release everything; the last process to close leaves an empty journal."""
        try:
            if self._lock is not None and self._in_use is not None and self._journal is not None:
                with self._lock.held():
                    if self._in_use.try_acquire():
                        self._catch_up()
                        self.checkpoint()
        except (OSError, StorageError) as exc:
            _log.warning("closing the store in %s: %s; the next open recovers it", self.layout.root, exc)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release everything as it is."""
        self.forget()
        for held in (self._journal, self._shared, self._in_use, self._lock):
            if held is not None:
                held.close()
        self._journal = self._shared = self._in_use = self._lock = None

    def forget(self) -> None:
        """Drop what is remembered, so that everything is read anew."""
        self.caches.clear()
        self.files.forget_all()

    # --- under the lock -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the commit lock, in step with what all processes wrote, and of the right schema version."""
        assert self._lock is not None
        with self._lock.held():
            self.on_lock()
            self.mark.check()
            self._catch_up()
            yield

    @property
    def position(self) -> Position:
        """Where the store stands; under the lock."""
        assert self._position is not None
        return self._position

    def write(self, writes: Sequence[Write], contents: Sequence[bytes]) -> None:
        """Commit one group, durably; under the lock. ``OSError`` when nothing of it was written."""
        assert self._journal is not None
        start = self.position
        group = format_group(writes, b"".join(contents))
        try:
            end = self._journal.append(group, start.end)
        except JournalSyncError as exc:
            self._give_up_group(exc)
            raise OSError(f"the disk failed to sync the journal ({exc})") from exc
        self._publish(start._replace(counter=start.counter + 1))
        staged = Staged()
        try:
            self.files.stage(zip(writes, contents, strict=True), staged)
        except OSError as exc:
            self._take_back(staged, start, exc)
            raise
        try:
            self.files.publish(staged)
        except OSError as exc:
            self.forget()
            raise OutcomeUnknownError(
                f"a write is in the journal of {self.layout.root}, but its files cannot be renamed ({exc}): it "
                "takes effect as soon as they can"
            ) from exc
        self._publish(start._replace(counter=start.counter + 2, end=end))

    def checkpoint_if_due(self) -> None:
        """A checkpoint when the journal is long; a failed one is tried again later."""
        if self.position.end < JOURNAL_LIMIT:
            return
        try:
            self.checkpoint()
        except OSError as exc:
            self.trouble = f"The journal in {self.layout.internal} cannot be closed and keeps growing: {exc}."
            _log.warning("%s", self.trouble)
        else:
            self.trouble = None

    def checkpoint(self) -> None:
        """Make the readable files durable and begin a new journal; under the lock."""
        assert self._journal is not None
        start = self._journal.start()
        position = self.position
        if position.end > start or position.suspect:
            if position.suspect:
                redo(self._journal, start, self.files, self.layout)
            self._sync_readable(start, position)
            self._begin_journal(position._replace(suspect=False))
        self._remove_other_journals()

    @contextlib.contextmanager
    def beside_the_journal(self) -> Iterator[None]:
        """Change files without the journal; under the lock. Others forget what they remember of them."""
        self.checkpoint()
        self.forget()
        position = self.position
        self._publish(position._replace(counter=position.counter + 1, epoch=position.epoch + 1))
        yield
        self._publish(position._replace(counter=position.counter + 2, epoch=position.epoch + 1))

    # --- agreement ----------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Follow what other processes did, and finish what a dead one began."""
        assert self._shared is not None
        known, now = self._position, self._shared.read()
        if now is None:
            self._recover()
            return
        if known is None or self._journal is None or known.epoch != now.epoch:
            self.forget()
        elif known.generation != now.generation:
            self.caches.clear()
        elif known.end != now.end:
            for write in self._journal.writes_between(known.end, now.end):
                self.caches.note(write)
        self._position = now
        try:
            journal = self._open_journal(now.generation)
        except FileNotFoundError:
            self._recover()
            return
        if not now.settled or journal.begins_at(now.end):
            self._finish(journal)

    def _finish(self, journal: Journal) -> None:
        """Apply what a dead process wrote to the journal, or drop it where it is incomplete."""
        position = self.position
        self.forget()
        journal.rewrite(position.end)
        if position.settled:
            position = position._replace(counter=position.counter + 1)
            self._publish(position)
        redone = redo(journal, position.end, self.files, self.layout)
        journal.cut(redone.end)
        self._publish(
            position._replace(counter=position.counter + 1, end=redone.end, epoch=position.epoch + 1)
        )
        if redone.damaged:
            self._recover()

    def _recover(self) -> None:
        """Carry out all journals again, and go on with a new one."""
        assert self._shared is not None
        found = self._shared.read() or Position(0, 0, 0, 0)
        self.forget()
        present = journals.generations(self.layout)
        written: set[str] = set()
        damaged = False
        for generation in present:
            journal = self._open_journal(generation)
            redone = redo(journal, journal.start(), self.files, self.layout)
            if redone.damaged:
                self._keep_damaged(journal)
            damaged |= redone.damaged
            written |= redone.files
        self.files.sync(written)
        counter = found.counter + 2 - found.counter % 2
        newest = max([found.generation, *present])
        self._position = Position(counter, newest, 0, found.epoch + 1)
        start = self._journal.start() if self._journal is not None else 0
        if self._journal is not None and len(present) == 1 and start and not written and not damaged:
            self._journal.cut(start)
            self._publish(self._position._replace(end=start))
        else:
            self._begin_journal(self._position)
            self._remove_other_journals()

    def _sync_readable(self, start: int, position: Position) -> None:
        """Sync all files that the journal names."""
        assert self._journal is not None
        written = {write.file for write in self._journal.writes_between(start, position.end)}
        try:
            self.files.sync(written)
        except OSError:
            # A second sync would report success without having written what the first one lost.
            self._publish(position._replace(suspect=True))
            raise

    def _begin_journal(self, position: Position) -> None:
        journal, start = Journal.create(self.disk, self.layout, position.generation + 1)
        if self._journal is not None:
            self._journal.close()
        self._journal = journal
        self._publish(position._replace(generation=position.generation + 1, end=start))

    def _remove_other_journals(self) -> None:
        others = [g for g in journals.generations(self.layout) if g != self.position.generation]
        for generation in others:
            journals.remove(self.disk, self.layout, generation)
        if others:
            self.disk.sync_directory(self.layout.internal)

    def _open_journal(self, generation: int) -> Journal:
        if self._journal is None or self._journal.generation != generation:
            opened = Journal.open(self.disk, self.layout, generation)
            if self._journal is not None:
                self._journal.close()
            self._journal = opened
        return self._journal

    def _keep_damaged(self, journal: Journal) -> None:
        """Keep a copy of a damaged journal for people to look at; ``check`` reports it while it is there."""
        with contextlib.suppress(FileExistsError):
            self.disk.make_directory(self.layout.damaged)
        with contextlib.suppress(FileExistsError):
            self.disk.link(journal.path, f"{self.layout.damaged}/{os.path.basename(journal.path)}")
        _log.error("a part of %s was damaged; it is kept in %s", journal.path, self.layout.damaged)

    def _take_back(self, staged: Staged, start: Position, cause: OSError) -> None:
        """After a failed write of readable files: undo it, and cut its group off the journal."""
        assert self._journal is not None
        self.caches.clear()
        try:
            self.files.undo(staged)
            self._journal.cut(start.end)
            self._publish(start._replace(counter=start.counter + 2))
        except OSError as exc:
            raise self._unknown(cause, exc) from cause

    def _give_up_group(self, cause: JournalSyncError) -> None:
        """After a failed sync: leave the journal behind, with the group in it, for a new one.

        The same file is never synced again: the system reports a failure once, and then takes the data that it
        lost for written.
        """
        assert self._journal is not None
        position = self.position
        try:
            self._sync_readable(self._journal.start(), position)
            self._begin_journal(position)
            self._remove_other_journals()
        except OSError as exc:
            self.forget()
            raise self._unknown(cause, exc) from cause

    def _unknown(self, cause: Exception, then: OSError) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"writing to {self.layout.root} failed ({cause}), and taking it back failed too ({then}): the write "
            "may or may not have been applied: check the disk, then look at the store, or repeat the call with "
            "the same ids"
        )

    def _publish(self, position: Position) -> None:
        assert self._shared is not None
        self._shared.write(position)
        self._position = position
