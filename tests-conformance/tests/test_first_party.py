"""The suite on the backends of this repository that core brings."""

from uuid import uuid4

import pytest

from oacp_storage_conformance import StorageConformance


class TestMemory(StorageConformance):
    @pytest.fixture
    def storage_source(self):
        return f"memory://{uuid4().hex}"
