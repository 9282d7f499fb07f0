"""Where things are: the storage that was named, and room beside it for the bare driver and other libraries.

They must work on the same disk and the same server as the storage. Whatever they and we leave there carries a token
of the run in its name, and is removed at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import unquote

from oacp_storage_core import Capability, Storage, create_storage, load_backend, redact_url, split_url
from oacp_storage_core.options import options_of
from oacp_storage_core.sources import Resolved, resolve

FAMILIES = {
    "file": "file",
    "sqlite": "sqlite",
    "postgres": "postgres",
    "postgresql": "postgres",
    "redis": "redis",
    "rediss": "redis",
    "mongo": "mongo",
    "mongodb": "mongo",
    "mongodb+srv": "mongo",
}
"""Names of backends and URL schemes for which there are raw parts and peers."""

EMBEDDED = ("file", "sqlite")
IN_MEMORY = ("redis",)
"""Kinds of stores that keep everything in memory."""


class Place(NamedTuple):
    """Where a storage is, for others to be beside it.

    ``family`` is the kind of store, or the backend's own name when there is nothing to compare it with. ``url`` is
    the one that a bare driver takes, without options of ours; None for embedded stores. ``directory`` is of this run
    alone, on the disk of an embedded store. ``token`` is part of every name on a server.
    """

    family: str
    url: str | None
    directory: Path
    token: str

    @property
    def name(self) -> str:
        """A name of this run that every store takes for a table, schema, database or prefix."""
        return f"oacp_bench_{self.token}"


class Target:
    """One STORAGE of the command line: how it is opened again and again, and what is beside it.

    An embedded backend that is named without a place (``sqlite``) ``is_temporary``: its directory goes at the end.
    """

    def __init__(self, source: str, directory: Path) -> None:
        resolved = resolve(source, {})
        self.backend = resolved.backend.lower()
        self.token = token_hex(4)
        self.shown = redact_url(source)
        family = FAMILIES.get(self.backend, self.backend)
        backend = load_backend(self.backend)  # early and loudly, when it is not installed
        self._temporary = Path(
            tempfile.mkdtemp(prefix=f"oacp-bench-{self.token}-", dir=_disk_of(resolved, family, directory))
        )
        self._source: Any = source
        self.is_temporary = (
            family in EMBEDDED and resolved.url is None and not resolved.name and not resolved.options
        )
        if self.is_temporary:
            store = self._temporary / ("store" if family == "file" else "store.db")
            self._source = f"{self.backend}:///{store}"
        url = None
        if resolved.url is not None and family not in EMBEDDED:
            parts = split_url(resolved.url)
            url = parts.without(set(options_of(backend, from_url=True).hints))
        self.place = Place(family, url, self._temporary, self.token)

    @property
    def source(self) -> str:
        """What ``create_storage`` takes, here and in other processes of this machine."""
        return str(self._source)

    @property
    def options(self) -> dict[str, Any]:
        """What keeps this run apart from the other data in the store."""
        probe = create_storage(self.source)
        return {"namespace": f"bench-{self.token}"} if Capability.NAMESPACES in probe.capabilities else {}

    def storage(self) -> Storage:
        """A new storage, not opened, in the namespace of this run where there are namespaces."""
        return create_storage(self.source, **self.options)

    def agent(self, name: object) -> str:
        """The name of an agent of this run."""
        return f"bench-{self.token}-{name}"

    def remove(self) -> None:
        """Delete the directory of this run. Only at its very end: a disk that trims deleted files is slow."""
        shutil.rmtree(self._temporary, ignore_errors=True)


def _disk_of(resolved: Resolved, family: str, otherwise: Path) -> Path:
    """The directory that an embedded store is in, or will be."""
    path: object = None
    if family in EMBEDDED and resolved.url is not None:
        rest = split_url(resolved.url).base.partition("://")[2]
        path = unquote(rest[1:] if family == "sqlite" else f"/{rest.partition('/')[2]}")
    elif family in EMBEDDED:
        name = "directory" if family == "file" else "database_path"
        path = resolved.options[name].value if name in resolved.options else None
        if path is not None and resolved.directory is not None:
            path = resolved.directory / str(path)
    if path is None:
        return otherwise
    parent = Path(str(path)).absolute().parent
    return next(folder for folder in (parent, *parent.parents) if folder.is_dir())
