"""The store: one directory, its commit lock, its journal, and how all processes agree on where it stands."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from oacp_storage_core import OutcomeUnknownError, StorageError
from oacp_storage_file.caches import Caches
from oacp_storage_file.disk import Disk
from oacp_storage_file.format_mark import FormatMark, Upgrade
from oacp_storage_file.inventory import update_manifests
from oacp_storage_file.journal import Journal, Journals, JournalSyncError
from oacp_storage_file.journal_format import FileRemoval, Write, format_group
from oacp_storage_file.layout import SCHEMA, Layout
from oacp_storage_file.locks import CommitLock, LockFile
from oacp_storage_file.place import claim_directory, write_guides
from oacp_storage_file.readable_files import ReadableFiles, Staged
from oacp_storage_file.recovery import redo
from oacp_storage_file.seqlock import Position, SequenceLock
from oacp_storage_file.upgrades import UPGRADES

_log = logging.getLogger("oacp_storage_file")

JOURNAL_LIMIT = 32 * 1024 * 1024
"""A journal longer than this is closed by a checkpoint, so that recovery stays short."""

_NOWHERE = Position(0, 0, 0, 0)


class Store:
    """One process's access to a store. Everything happens in one thread.

    **Commit.** Under the commit lock: one group into the journal, one sync, then the readable files.

    **Position.** What a process remembers (``caches``, open files) holds for the ``position`` it last saw;
    ``locked`` brings both up to date, and finishes what a dead process left.

    **Checkpoint.** The readable files are synced, and a new journal begins.
    """

    def __init__(self, layout: Layout, disk: Disk, mark: FormatMark, on_lock: Callable[[], None]) -> None:
        self.layout = layout
        self.disk = disk
        self.caches = Caches()
        self.files = ReadableFiles(disk, layout)
        self.position = _NOWHERE
        self.trouble: str | None = None
        self._removed: set[str] = set()
        self._removed_until = (0, 0)  # the generation and the end of what was looked through
        self._mark = mark
        self._on_lock = on_lock
        self._journals = Journals(disk, layout)
        with contextlib.ExitStack() as opened:
            self._lock = CommitLock(layout.inner("line.lock"), layout.inner("commit.lock"))
            opened.callback(self._lock.close)
            self._in_use = LockFile(layout.inner("in-use.lock"))
            opened.callback(self._in_use.close)
            self._shared = SequenceLock(disk, layout.inner("position"))
            opened.callback(self._shared.close)
            opened.callback(self._journals.close)
            opened.callback(self.forget)
            self._opened = opened.pop_all()

    @classmethod
    def open(
        cls,
        layout: Layout,
        disk: Disk,
        *,
        schema: int = SCHEMA,
        upgrades: Mapping[int, Upgrade] | None = None,
        on_lock: Callable[[], None] = lambda: None,
    ) -> Store:
        """Make or check the directory, upgrade it, and recover it if nobody else is using it.

        ``on_lock`` is called whenever the commit lock has been taken; what it raises ends the attempt.
        """
        claim_directory(disk, layout)
        store = cls(
            layout,
            disk,
            FormatMark(disk, layout, schema, UPGRADES if upgrades is None else upgrades),
            on_lock,
        )
        try:
            store._begin()
        except BaseException:
            store.abandon()
            raise
        return store

    def _begin(self) -> None:
        with self._lock.held():
            self._on_lock()
            alone = self._in_use.try_acquire()
            self._mark.create_or_judge()
            write_guides(self.disk, self.layout)
            if alone:
                # After a power cut the readable files may lack what was written to them since they were synced.
                self._recover()
            else:
                self._catch_up()
            self._mark.upgrade()
            self._in_use.share()

    def close(self) -> None:
        """Release everything; the last process to close leaves an empty journal."""
        try:
            with self._lock.held():
                self._on_lock()
                if self._in_use.try_acquire():
                    self._catch_up()
                    self.checkpoint()
        except (OSError, StorageError) as exc:
            _log.warning("closing the store in %s: %s; the next open recovers it", self.layout.root, exc)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release everything as it is."""
        self._opened.close()

    def forget(self) -> None:
        """Drop what is remembered, so that everything is read anew."""
        self.caches.clear()
        self.files.forget_all()

    # --- under the lock -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the commit lock, in step with what all processes wrote, and of the right schema version."""
        with self._lock.held(self._follow):
            self._on_lock()
            self._mark.check()
            self._catch_up()
            yield

    def write(self, writes: Sequence[Write], contents: Sequence[bytes]) -> None:
        """Commit one group, durably; under the lock.

        ``OSError`` when nothing of it was written, ``OutcomeUnknownError`` when that is not sure.
        """
        journal = self._journals.open(self.position.generation)
        start = self.position
        group = format_group(writes, contents)
        try:
            end = journal.append(group, start.end)
        except JournalSyncError as exc:
            self._give_up_group(journal, exc)
            raise OSError(f"the disk failed to sync the journal ({exc})") from exc
        staged = Staged()
        try:
            self._publish(start._replace(counter=start.counter + 1))
            self.files.stage(zip(writes, contents, strict=True), staged)
        except OSError as exc:
            self._take_back(journal, staged, start, exc)
            raise
        try:
            self.files.publish(staged)
            self._publish(start._replace(counter=start.counter + 2, end=end))
        except OSError as exc:
            self.forget()
            raise OutcomeUnknownError(
                f"a write is in the journal of {self.layout.root}, but cannot be shown in its files ({exc}): it "
                "takes effect as soon as it can"
            ) from exc

    def removed(self) -> AbstractSet[str]:
        """The documents that were removed since the last checkpoint; under the lock."""
        now = self.position
        journal = self._journals.open(now.generation)
        if self._removed_until[0] != now.generation:
            self._removed_until, self._removed = (now.generation, journal.start()), set()
        for write in journal.writes_between(self._removed_until[1], now.end):
            if isinstance(write, FileRemoval):
                self._removed.add(write.file)
            else:
                self._removed.discard(write.file)
        self._removed_until = (now.generation, now.end)
        return self._removed

    def writes_since(self, position: Position) -> list[Write]:
        """What was written after a position of the same generation; under the lock."""
        journal = self._journals.open(self.position.generation)
        return list(journal.writes_between(position.end, self.position.end))

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
        journal = self._journals.open(self.position.generation)
        if self.position.end > journal.start() or self.position.suspect:
            if self.position.suspect:
                redo(journal, journal.start(), self.files, self.layout)
            self._sync_readable(journal)
            self._begin_journal(self.position._replace(suspect=False))
        self._journals.remove_all_but(self.position.generation)

    @contextlib.contextmanager
    def beside_the_journal(self) -> Iterator[None]:
        """Change files without the journal; under the lock. Others forget what they remember of them."""
        self.checkpoint()
        self.forget()
        position = self.position
        self._publish(position._replace(counter=position.counter + 1, epoch=position.epoch + 1))
        try:
            yield
        except OSError:
            self._publish(self.position._replace(counter=position.counter + 2))
            raise
        self._publish(self.position._replace(counter=position.counter + 2))

    # --- agreement ----------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Follow what other processes wrote so far, next in line for the lock.

        It would be done with the lock held otherwise, where everybody waits for it.
        """
        known, now = self.position, self._shared.read()
        if now is None or (known.generation, known.epoch) != (now.generation, now.epoch):
            return
        with contextlib.suppress(FileNotFoundError):  # a checkpoint came in between
            for write in self._journals.open(now.generation).writes_between(known.end, now.end):
                self.caches.note(write)
            self.position = known._replace(end=now.end)

    def _catch_up(self) -> None:
        """Follow what other processes did, and finish what a dead one began."""
        known, now = self.position, self._shared.read()
        if now is None:
            self._recover()
            return
        try:
            journal = self._journals.open(now.generation)
        except FileNotFoundError:
            self._recover()
            return
        if known.epoch != now.epoch:
            self.forget()
        elif known.generation != now.generation:
            self.caches.clear()
        elif known.end != now.end:
            for write in journal.writes_between(known.end, now.end):
                self.caches.note(write)
        self.position = now
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
        """Carry out all journals again, and go on with a new one, or with the present one if it is empty."""
        found = self._shared.read() or _NOWHERE
        self.forget()
        present = self._journals.generations()
        written: list[Write] = []
        reusable = len(present) == 1
        for generation in present:
            journal = self._journals.open(generation)
            redone = redo(journal, journal.start(), self.files, self.layout)
            if redone.damaged:
                self._keep_damaged(journal)
            written += redone.writes
            reusable = reusable and 0 < journal.start() == redone.end
        self._sync_written(written)
        newest = max([found.generation, *present])
        position = Position(found.counter + found.counter % 2, newest, 0, found.epoch + 1)
        if reusable:
            start = self._journals.open(newest).start()
            self._journals.open(newest).cut(start)
            self._publish(position._replace(end=start))
        else:
            self._begin_journal(position)
            self._journals.remove_all_but(self.position.generation)

    def _begin_journal(self, position: Position) -> None:
        journal = self._journals.create(position.generation + 1)
        self._publish(position._replace(generation=journal.generation, end=journal.start()))

    def _sync_readable(self, journal: Journal) -> None:
        """Sync all files that the journal names."""
        writes = list(journal.writes_between(journal.start(), self.position.end))
        if self.files.vanished(writes):
            self._write_again(journal)
        try:
            self._sync_written(writes)
        except OSError:
            # A second sync would report success without having written what the first one lost.
            self._publish(self.position._replace(suspect=True))
            raise

    def _sync_written(self, writes: Sequence[Write]) -> None:
        """Bring the manifests up to date with what was written, and make all of it durable."""
        update_manifests(self.disk, self.layout, writes, f"{self.layout.temporary}/manifest")
        self.files.sync({write.file for write in writes})

    def _write_again(self, journal: Journal) -> None:
        """Write what the journal has once more, because somebody removed files that it was written to."""
        _log.error(
            "files of the store in %s were removed while it is in use; what can be is restored",
            self.layout.root,
        )
        position = self.position
        self.forget()
        self._publish(position._replace(counter=position.counter + 1))
        redo(journal, journal.start(), self.files, self.layout, position.end)
        self._publish(position._replace(counter=position.counter + 2, epoch=position.epoch + 1))

    def _keep_damaged(self, journal: Journal) -> None:
        """Keep a copy of a damaged journal for people to look at; ``check`` reports it while it is there."""
        with contextlib.suppress(FileExistsError):
            self.disk.make_directory(self.layout.damaged)
        with contextlib.suppress(FileExistsError):
            self.disk.link(journal.path, f"{self.layout.damaged}/{os.path.basename(journal.path)}")
        _log.error("a part of %s was damaged; it is kept in %s", journal.path, self.layout.damaged)

    def _take_back(self, journal: Journal, staged: Staged, start: Position, cause: OSError) -> None:
        """After a failed write of readable files: undo it, and cut its group off the journal."""
        self.caches.clear()
        try:
            self.files.undo(staged)
            journal.cut(start.end)
            self._publish(start._replace(counter=start.counter + 2))
        except OSError as exc:
            raise self._unknown(cause, exc) from cause

    def _give_up_group(self, journal: Journal, cause: JournalSyncError) -> None:
        """After a failed sync: leave the journal behind, with the group in it, for a new one.

        The same file is never synced again: the system reports a failure once, and then takes the data that it
        lost for written.
        """
        try:
            self._sync_readable(journal)
            self._begin_journal(self.position)
            self._journals.remove_all_but(self.position.generation)
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
        self._shared.write(position)
        self.position = position
