"""Parameters that several commands share."""

from __future__ import annotations

from typing import Annotated

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
