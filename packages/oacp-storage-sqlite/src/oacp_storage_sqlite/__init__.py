"""oacp-storage backend on SQLite."""

from __future__ import annotations

from oacp_storage_sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
