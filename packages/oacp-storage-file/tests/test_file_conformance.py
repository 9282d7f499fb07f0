"""FileStorage keeps the whole contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from file_tamper import FileTamper
from oacp_storage_conformance import StorageConformance, Tamper


class TestFileStorage(StorageConformance):
    @pytest.fixture
    def storage_source(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/data"

    @pytest.fixture
    def storage_tamper(self, tmp_path: Path) -> Tamper:
        return FileTamper(tmp_path / "data")
