"""oacp-storage backend on plain, readable JSON files."""

from __future__ import annotations

from oacp_storage_file.storage import FileStorage

__all__ = ["FileStorage"]
