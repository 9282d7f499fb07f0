"""What ``pytest --pyargs oacp_storage_conformance --oacp-storage STORAGE`` runs."""

from __future__ import annotations

import pytest

from oacp_storage_conformance.suite import StorageConformance


class TestStorage(StorageConformance):
    """The suite against the storage named on the command line."""

    from_command_line = True
    shared_place = True

    @pytest.fixture
    def storage_source(self, request: pytest.FixtureRequest) -> str:
        """The value of ``--oacp-storage``."""
        return str(request.config.getoption("oacp_storage_source"))
