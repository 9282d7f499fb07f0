"""What a process remembers of the store between commits: where logs end, and versions of documents.

All of it can be read from the files again. It is kept current by what the journal says others wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

from oacp_storage_file.journal_format import FileRemoval, FileWrite, LogWrite, Write
from oacp_storage_file.layout import LEARNING

_MOST_TAILS = 20_000
_MOST_VERSIONS = 50_000


@dataclass(slots=True)
class Tail:
    """The end of an agent's log: its last sequence ever, and the segment that the next line goes to.

    ``file`` is None where there is no segment yet.
    """

    exists: bool
    head: int
    file: str | None
    size: int


class Caches:
    """Tails by agent directory, and document versions by file (0: there is none)."""

    def __init__(self) -> None:
        self.tails: dict[str, Tail] = {}
        self.versions: dict[str, int] = {}

    def clear(self) -> None:
        """Forget everything."""
        self.tails.clear()
        self.versions.clear()

    def remember_tail(self, directory: str, tail: Tail) -> None:
        """Keep the end of a log, and drop the one kept for longest when there are too many."""
        if len(self.tails) >= _MOST_TAILS:
            del self.tails[next(iter(self.tails))]
        self.tails[directory] = tail

    def remember_version(self, file: str, version: int) -> None:
        """Keep a document's version, likewise."""
        if len(self.versions) >= _MOST_VERSIONS:
            del self.versions[next(iter(self.versions))]
        self.versions[file] = version

    def note(self, write: Write) -> None:
        """Follow a write, by whichever process."""
        directory = write.file.rpartition("/")[0]
        if isinstance(write, LogWrite):
            tail = self.tails.get(directory)
            if tail is not None:
                tail.exists, tail.head = True, write.head
                tail.file, tail.size = write.file, write.at + write.size
            return
        above, _, last = directory.rpartition("/")
        if last == LEARNING:
            directory = above
        tail = self.tails.get(directory)
        if tail is not None:
            tail.exists = True
        if isinstance(write, FileWrite):
            self.versions.pop(write.file, None)
            self.remember_version(write.file, write.version)
        elif isinstance(write, FileRemoval):
            self.versions[write.file] = 0
