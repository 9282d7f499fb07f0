"""The contract, clause by clause, on a real server, with both drivers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from mongo_tamper import MongoTamper
from mongo_testing import MongoProxy, sockets_left_by_pymongo
from oacp_storage_conformance import StorageConformance, Tamper
from oacp_storage_conformance.base import ConformanceBase
from oacp_storage_conformance.clauses.cancellation import CancellationClause
from oacp_storage_conformance.clauses.capabilities import CapabilitiesClause
from oacp_storage_conformance.clauses.concurrency import ConcurrencyClause
from oacp_storage_conformance.clauses.deletion import DeletionClause
from oacp_storage_conformance.clauses.durability import DurabilityClause
from oacp_storage_conformance.clauses.health import HealthClause
from oacp_storage_conformance.clauses.history import HistoryClause
from oacp_storage_conformance.clauses.idempotency import IdempotencyClause
from oacp_storage_conformance.clauses.imports import ImportClause
from oacp_storage_conformance.clauses.loops import LoopsClause
from oacp_storage_conformance.clauses.order import OrderClause
from oacp_storage_conformance.clauses.outages import OutagesClause
from oacp_storage_conformance.clauses.reference import ReferenceClause
from oacp_storage_conformance.clauses.retention import RetentionClause
from oacp_storage_conformance.clauses.turns import TurnsClause
from oacp_storage_conformance.clauses.versions import VersionsClause
from oacp_storage_conformance.clauses.watch import WatchClause
from oacp_storage_conformance.servers import MongoServer

PATIENCE = "timeout=15&connect_timeout=2"  # seconds that calls to a stopped server take
pytestmark = sockets_left_by_pymongo


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_later_tests() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drivers look for a server that they lost twice a second; some tests cut connections all the time."""
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.01)


@pytest.fixture(scope="module")
def proxy(oacp_mongo_server: MongoServer) -> Iterator[MongoProxy | None]:
    """In front of a server of our own, so that connections can be cut."""
    client: MongoClient[dict[str, Any]] = MongoClient(oacp_mongo_server.url)
    with client:
        for driver in ("motor", "pymongo"):
            client.drop_database(f"conformance-{driver}")
    if not oacp_mongo_server.controllable:
        yield None
        return
    with MongoProxy(oacp_mongo_server.ports[0]) as proxy:
        yield proxy


def url_of(server: MongoServer, proxy: MongoProxy | None, database: str, driver: str) -> str:
    base = (proxy.url if proxy else server.url).replace("/?", f"/{database}?", 1)
    return f"{base}{'&' if '?' in base else '?'}{PATIENCE}&driver={driver}"


class OnMongo:
    """``driver`` decides; each has a database of its own, since a tamper changes all of it."""

    driver = ""

    @pytest.fixture
    def storage_source(self, oacp_mongo_server: MongoServer, proxy: MongoProxy | None) -> str:
        return url_of(oacp_mongo_server, proxy, f"conformance-{self.driver}", self.driver)

    @pytest.fixture
    def storage_tamper(self, oacp_mongo_server: MongoServer, proxy: MongoProxy | None) -> Tamper | None:
        if proxy is None:
            return None
        return MongoTamper(oacp_mongo_server, proxy, f"conformance-{self.driver}")


class TestMotor(OnMongo, StorageConformance):
    """The whole contract on the driver that is the default."""

    driver = "motor"


class TestPyMongo(
    OnMongo,
    ReferenceClause,
    OutagesClause,
    DurabilityClause,
    ConcurrencyClause,
    CancellationClause,
    LoopsClause,
    ImportClause,
    WatchClause,
    DeletionClause,
    RetentionClause,
    TurnsClause,
    VersionsClause,
    IdempotencyClause,
    HistoryClause,
    OrderClause,
    HealthClause,
    CapabilitiesClause,
    ConformanceBase,
):
    """Whatever a driver can do differently; names, payloads and the like are decided before any driver."""

    driver = "pymongo"
