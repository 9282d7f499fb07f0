"""``FileStorage``: the backend on plain, readable JSON files."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from oacp_storage_core import ALL_CAPABILITIES, Capability, StorageConfigError
from oacp_storage_engine import Engine, EngineStorage

from oacp_storage_file.engine import FileEngine

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def parse_size(size: int | str) -> int:
    """Bytes from ``100_000_000``, ``"100MB"`` or ``"64MiB"``; ``StorageConfigError`` for anything else."""
    if isinstance(size, str) and (match := _SIZE.fullmatch(size.strip())):
        base = 1024 if match[3] else 1000
        bytes_ = int(float(match[1]) * base ** " kmgt".index(match[2].lower() or " "))
    elif isinstance(size, int) and not isinstance(size, bool):
        bytes_ = size
    else:
        bytes_ = 0
    if bytes_ < 1:
        raise StorageConfigError(
            f'max_file_size {size!r} is no size: give bytes, or text such as "100MB" or "64MiB"'
        )
    return bytes_


class FileStorage(EngineStorage):
    """Storage in a directory of JSON files."""

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    def __init__(
        self,
        directory: str | os.PathLike[str] = "./oacp-data",
        *,
        max_file_size: int | str = "100MB",
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)
        self._root = os.path.abspath(os.fspath(directory))
        self._max_file_size = parse_size(max_file_size)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """A storage from ``file:///absolute/directory``."""
        return cls(unquote(url.partition("://")[2]), **options)

    def _make_engine(self) -> Engine:
        return FileEngine(self._root, self.namespace, max_file_size=self._max_file_size)
