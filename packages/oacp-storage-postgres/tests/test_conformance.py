"""The contract, clause by clause, on a real server."""

from __future__ import annotations

import pytest

from oacp_storage_conformance import StorageConformance, Tamper
from oacp_storage_conformance.servers import PostgresServer
from postgres_tamper import PostgresTamper
from postgres_testing import at

PATIENCE = "timeout=6"  # seconds that calls to a stopped server take; the default makes these tests long


class TestPostgreSQL(StorageConformance):
    @pytest.fixture
    def storage_source(self, oacp_postgres_server: PostgresServer) -> str:
        url = oacp_postgres_server.url
        if oacp_postgres_server.controllable:  # it takes any password, and none must be shown
            url = at(url, password="open-sesame")
        return f"{url}{'&' if '?' in url else '?'}{PATIENCE}"

    @pytest.fixture
    def storage_tamper(self, oacp_postgres_server: PostgresServer) -> Tamper | None:
        server = oacp_postgres_server
        return PostgresTamper(server.url, server) if server.controllable else None
