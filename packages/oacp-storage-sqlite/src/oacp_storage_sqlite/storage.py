"""``SQLiteStorage``: what applications hold, with the options."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from oacp_storage_core import ALL_CAPABILITIES, Capability, StorageConfigError, redact_url, typed_options
from oacp_storage_engine import EngineStorage

if TYPE_CHECKING:
    from oacp_storage_engine import Engine
    from oacp_storage_sqlite.schema import Schema


class SQLiteStorage(EngineStorage):
    """Keeps everything in one SQLite database, for any number of tasks and processes of one machine.

    **Options.**

    - ``database_path``: the file; it is made (0600), and its directory (0700), where missing.
    - ``pool_size``: how many reads may be under way at once, each on a connection of its own; they are opened as
      they are needed. Writes go through one further connection.
    - ``enable_wal_mode``: the write-ahead log, in which readers and writers do not wait for each other. Without
      it, the rollback journal.
    - ``cache_size``: of each connection, in pages of 4 KiB, or in KiB when negative, as in SQLite.
    - ``auto_vacuum``: let the file shrink after deletions. It is decided when the file is made.
    - ``durability``: ``"full"``: what was acknowledged survives a power cut. ``"normal"``: it survives the death
      of the process; a power cut may undo the last commits, but damages nothing.
    - ``namespace``, ``coerce``, ``timeout``: as in ``EngineStorage``.

    **Files.** Beside the database stand ``-wal`` and ``-shm``, which belong to it and must be copied with it while
    it is open, and ``-turn``, at which writing processes line up.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES
    relative_urls: ClassVar[bool] = True

    @typed_options
    def __init__(
        self,
        database_path: str | os.PathLike[str] = "oacp.db",
        *,
        pool_size: int = 10,
        enable_wal_mode: bool = True,
        cache_size: int = 1000,
        auto_vacuum: bool = True,
        durability: Literal["full", "normal"] = "full",
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        self._path = _absolute(database_path)
        if pool_size < 1:
            raise StorageConfigError(f"pool_size must be at least 1, not {pool_size}")
        if not cache_size:
            raise StorageConfigError("cache_size must not be 0: give pages, or KiB as a negative number")
        self._pool_size = pool_size
        self._wal = enable_wal_mode
        self._cache_size = cache_size
        self._auto_vacuum = auto_vacuum
        self._full = durability == "full"
        self._timeout = timeout
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The storage of ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db`` (percent-encoded)."""
        from urllib.parse import unquote

        base, _, query = url.partition("?")
        rest = base.partition("://")[2]
        shown = redact_url(url)
        if query:
            names = ", ".join(repr(part.partition("=")[0]) for part in query.split("&"))
            raise StorageConfigError(
                f"the URL {shown} has options that SQLiteStorage does not know: {names}; its options are "
                "pool_size, enable_wal_mode, cache_size, auto_vacuum, durability, namespace, coerce and timeout"
            )
        if not rest.startswith("/"):
            raise StorageConfigError(
                f"the URL {shown} names a host, and SQLite has none: write sqlite:///relative/path.db with three "
                "slashes, or sqlite:////absolute/path.db with four"
            )
        if "database_path" in options:
            raise StorageConfigError(
                f"the URL {shown} names the database already; leave out the option database_path"
            )
        try:
            path = unquote(rest[1:], errors="strict")
        except UnicodeDecodeError:
            raise StorageConfigError(f"the URL {shown} is not percent-encoded UTF-8") from None
        return cls(path, **options)

    async def missing_store(self) -> str | None:
        return self._path if _is_missing(self._path) else None

    def _make_engine(self) -> Engine:
        from oacp_storage_sqlite.database import Settings
        from oacp_storage_sqlite.engine import SQLiteEngine

        settings = Settings(
            path=self._path,
            wal=self._wal,
            full=self._full,
            auto_vacuum=self._auto_vacuum,
            cache_size=self._cache_size,
        )
        return SQLiteEngine(
            settings, self.namespace, schema=self._schema(), pool_size=self._pool_size, timeout=self._timeout
        )

    @classmethod
    def _schema(cls) -> Schema:
        """The schema that this release works with."""
        from oacp_storage_sqlite.schema import SCHEMA

        return SCHEMA


def _absolute(path: str | os.PathLike[str]) -> str:
    """The path as it is now: a later change of directory must not lead to another file."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise StorageConfigError(f"database_path must be text, not {type(text).__name__}")
    if text in ("", ":memory:") or text.startswith("file:"):
        raise StorageConfigError(
            f"database_path must be the path of a file, not {text!r}; for a store in memory use MemoryStorage "
            "(memory:// as a URL)"
        )
    if "\0" in text:
        raise StorageConfigError("database_path contains a NUL character; remove it")
    return os.path.abspath(text)  # noqa: PTH100 - resolve() would follow links, which may change


def _is_missing(path: str) -> bool:
    """Whether there is no file, or an empty one; what else may be wrong with the path, opening it tells."""
    try:
        return not os.stat(path).st_size  # noqa: PTH116 - the module imports no pathlib
    except FileNotFoundError:
        return True
    except OSError:
        return False
