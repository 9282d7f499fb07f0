"""Recovery: the journal's groups are written to the readable files again, which may be done any number of times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from oacp_storage_file.disk import read_file
from oacp_storage_file.documents import parse_document
from oacp_storage_file.journal import Journal
from oacp_storage_file.journal_format import Damaged, FileWrite, Group, LogWrite, Torn, Write, scan
from oacp_storage_file.layout import Layout
from oacp_storage_file.readable_files import Part, ReadableFiles, Staged


class Redone(NamedTuple):
    """What a journal held: where it ends, what it wrote, and whether any of it was damaged."""

    end: int
    writes: list[Write]
    damaged: bool


def redo(
    journal: Journal, start: int, files: ReadableFiles, layout: Layout, stop: int | None = None
) -> Redone:
    """Carry out again what stands in the journal from ``start`` on, up to ``stop`` or to its end.

    Of a group whose content is damaged only what is missing is written: each record in it is checked by itself
    when it is read. A group whose header is damaged can only be passed over.
    """
    data = journal.read(start, stop)
    final: dict[str, int] = {}  # the last group that writes a file
    lengths: dict[str, int] = {}
    writes: list[Write] = []
    for found in scan(data, start):
        if isinstance(found, Group):
            writes += found.writes
            for write in found.writes:
                final[write.file] = found.offset
                if isinstance(write, LogWrite):
                    lengths[write.file] = write.at + write.size
    end = start
    partly = unreadable = False
    for found in scan(data, start):
        if isinstance(found, Group):
            _write(files, _wanted(found, final, files, layout))
            partly = partly or not found.intact
        unreadable = unreadable or isinstance(found, Damaged)
        end = found.offset if isinstance(found, Torn) else found.end
    for file, length in lengths.items():
        # What a group that cannot be read wrote there may have been acknowledged.
        if not unreadable and files.size(file) > length:
            files.truncate(file, length)
    return Redone(end, writes, partly or unreadable)


def _write(files: ReadableFiles, parts: Iterable[Part]) -> None:
    staged = Staged()
    files.stage(parts, staged)
    files.publish(staged)


def _wanted(group: Group, final: dict[str, int], files: ReadableFiles, layout: Layout) -> Iterable[Part]:
    for write, content in group.parts():
        if not isinstance(write, LogWrite) and final[write.file] != group.offset:
            continue  # a later group replaces it
        if group.intact or not _stands(write, files, layout):
            yield write, content


def _stands(write: Write, files: ReadableFiles, layout: Layout) -> bool:
    """Whether what a damaged group wrote is there already, from before the crash."""
    try:
        if isinstance(write, LogWrite):
            present = files.read(write.file, write.at, write.size)
            return len(present) == write.size and b"\0" not in present
        if isinstance(write, FileWrite):
            doc = parse_document(read_file(layout.absolute(write.file)), None)
            return doc.damage is None and doc.version == write.version
    except FileNotFoundError:
        return False
    return False
