"""Exit statuses of the command, and the exception that ends it with one."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What the exit status of ``oacp-storage`` says."""

    OK = 0
    """Done, and everything is as it should be."""
    FOUND = 1
    """Done, but something was found: malformed lines, damage, differences, a storage that is not well."""
    USAGE = 2
    """The command line or the configuration is wrong, or names something that is not there; nothing was done."""
    FAILED = 3
    """A storage or a file failed on the way; what was acknowledged until then is kept."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""
    BROKEN_PIPE = 141
    """Whoever read the output stopped reading, as in ``oacp-storage export | head``."""


class Stop(Exception):
    """Ends the command with one line on stderr and a status."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status
