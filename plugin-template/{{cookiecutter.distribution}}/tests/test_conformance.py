"""The contract: every sentence of it, for the capabilities that the class declares."""

from pathlib import Path

import pytest
from oacp_storage_conformance import StorageConformance


class Test{{ cookiecutter.class_name }}(StorageConformance):
    """The suite needs to know where a store may be made, and nothing else."""

    @pytest.fixture
    def storage_source(self, tmp_path: Path) -> str:
        """A fresh place for each test."""
        return f"{{ cookiecutter.backend }}://{tmp_path}/store"
