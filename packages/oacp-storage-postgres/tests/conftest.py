"""A database of its own for each test that asks for ``database``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oacp_storage_conformance.servers import PostgresServer
from postgres_testing import fresh_database


@pytest.fixture
def database(oacp_postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database, which is dropped afterwards."""
    with fresh_database(oacp_postgres_server.url) as url:
        yield url
