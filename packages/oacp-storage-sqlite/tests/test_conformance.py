"""The contract, clause by clause: the suite that every backend is graded by."""

from __future__ import annotations

from pathlib import Path

import pytest

from oacp_storage_conformance import StorageConformance, Tamper
from sqlite_tamper import SQLiteTamper


class TestSQLite(StorageConformance):
    @pytest.fixture
    def storage_source(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/agents.db"

    @pytest.fixture
    def storage_tamper(self, tmp_path: Path) -> Tamper:
        return SQLiteTamper(tmp_path / "agents.db")
