"""What stands behind a storage, for tests whose plugins are classes that exist only while a test runs."""

from __future__ import annotations

from typing import Any

from oacp_storage_core import Storage
from oacp_storage_core.adapter import AdaptedStorage


def backend_of(storage: Storage) -> Any:
    """The object of four methods that core's adapter holds."""
    assert isinstance(storage, AdaptedStorage)
    return storage.backend
