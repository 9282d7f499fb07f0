"""A database of its own for each test that asks for ``database``, and a proxy in front of it for ``proxy``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oacp_storage_conformance.servers import PostgresServer
from postgres_testing import PostgresProxy, fresh_database


@pytest.fixture
def database(oacp_postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database, which is dropped afterwards."""
    with fresh_database(oacp_postgres_server.url) as url:
        yield url


@pytest.fixture
def proxy(database: str) -> Iterator[PostgresProxy]:
    """A proxy in front of ``database``."""
    with PostgresProxy(database) as proxy:
        yield proxy
