"""Parameters that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

_DEFAULT = "by default OACP_STORAGE_URI, else the default of the nearest oacp.toml."

StorageArgument = Annotated[
    str | None,
    Parameter(
        name="--storage", help=f"The storage: a URL, a storage named in oacp.toml, or a backend; {_DEFAULT}"
    ),
]
"""STORAGE, by position or as ``--storage``."""

TargetStorage = Annotated[
    str | None, Parameter(name="--to", help=f"The storage to write to: as STORAGE elsewhere; {_DEFAULT}")
]
"""The STORAGE that a command writes to."""

AsJson = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="Print JSON for programs.")
]
"""Whether to print JSON instead of a table."""


def _no_option(_type: Any, file: str) -> None:
    """``-`` may stand for a stream only if the parser takes all that begins with a hyphen; the rest is refused."""
    if file.startswith("-") and file != "-":
        raise ValueError(f"There is no such option; a file of that name is ./{file}")


STREAM = Parameter(allow_leading_hyphen=True, validator=_no_option)
"""For a file that may be ``-``, stdin or stdout."""
