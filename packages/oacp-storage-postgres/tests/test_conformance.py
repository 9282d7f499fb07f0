"""The contract, clause by clause, on a real server."""

from __future__ import annotations

import pytest

from oacp_storage_conformance import StorageConformance, Tamper
from oacp_storage_conformance.base import ConformanceBase
from oacp_storage_conformance.clauses.concurrency import ConcurrencyClause
from oacp_storage_conformance.clauses.deletion import DeletionClause
from oacp_storage_conformance.clauses.history import HistoryClause
from oacp_storage_conformance.clauses.idempotency import IdempotencyClause
from oacp_storage_conformance.clauses.imports import ImportClause
from oacp_storage_conformance.clauses.order import OrderClause
from oacp_storage_conformance.clauses.outages import OutagesClause
from oacp_storage_conformance.clauses.reference import ReferenceClause
from oacp_storage_conformance.clauses.retention import RetentionClause
from oacp_storage_conformance.clauses.turns import TurnsClause
from oacp_storage_conformance.clauses.versions import VersionsClause
from oacp_storage_conformance.clauses.watch import WatchClause
from oacp_storage_conformance.clauses.where import WhereClause
from oacp_storage_conformance.servers import PostgresServer
from postgres_tamper import PostgresTamper
from postgres_testing import at

PATIENCE = "timeout=6"  # seconds that calls to a stopped server take; the default makes these tests long


class OnPostgreSQL:
    """``server`` decides which one."""

    @pytest.fixture
    def storage_source(self, server: PostgresServer) -> str:
        url = server.url
        if server.controllable:  # it takes any password, and none must be shown
            url = at(url, password="open-sesame")
        return f"{url}{'&' if '?' in url else '?'}{PATIENCE}"

    @pytest.fixture
    def storage_tamper(self, server: PostgresServer) -> Tamper | None:
        return PostgresTamper(server.url, server) if server.controllable else None


class TestPostgreSQL(OnPostgreSQL, StorageConformance):
    """The whole contract on the newest version at hand."""

    @pytest.fixture
    def server(self, oacp_postgres_server: PostgresServer) -> PostgresServer:
        return oacp_postgres_server


class TestOlderPostgreSQL(
    OnPostgreSQL,
    ReferenceClause,
    OutagesClause,
    ConcurrencyClause,
    ImportClause,
    WatchClause,
    WhereClause,
    DeletionClause,
    RetentionClause,
    TurnsClause,
    VersionsClause,
    IdempotencyClause,
    HistoryClause,
    OrderClause,
    ConformanceBase,
):
    """What the server's functions and statements decide, on the oldest version at hand."""

    @pytest.fixture
    def server(self, oacp_postgres_servers: list[PostgresServer]) -> PostgresServer:
        if len(oacp_postgres_servers) == 1:
            pytest.skip("only one version of PostgreSQL is at hand")
        return oacp_postgres_servers[-1]
