"""``{{ cookiecutter.class_name }}``: what users name in their configuration, with its options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from oacp_storage_core import StorageConfigError, redact_url
from oacp_storage_engine import Engine, EngineStorage

from {{ cookiecutter.package }}.engine import SQLEngine


class {{ cookiecutter.class_name }}(EngineStorage, interface=1):
    """Keeps each namespace in an SQLite file of its own in ``directory``.

    ``namespace``, ``coerce`` and ``timeout`` (seconds) are those of every storage.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] = "./{{ cookiecutter.backend }}-data",
        *,
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)
        self._path = Path(directory) / f"{self.namespace}.db"

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``{{ cookiecutter.backend }}:///absolute/directory``; options may stand in the query."""
        directory = url.partition("://")[2]
        if not directory.startswith("/") or "?" in directory:
            raise StorageConfigError(
                f"the URL {redact_url(url)} names a host or an unknown option: write "
                "{{ cookiecutter.backend }}:///absolute/directory with three slashes (a ? in a name is %3F)"
            )
        return cls(unquote(directory), **options)

    async def missing_store(self) -> str | None:
        return None if self._path.exists() else str(self._path)

    def _make_engine(self) -> Engine:
        return SQLEngine(self._path)
