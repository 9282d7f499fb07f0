"""``StorageConformance``: the whole suite as one class."""

from __future__ import annotations

from oacp_storage_conformance.base import ConformanceBase
from oacp_storage_conformance.clauses.cancellation import CancellationClause
from oacp_storage_conformance.clauses.capabilities import CapabilitiesClause
from oacp_storage_conformance.clauses.concurrency import ConcurrencyClause
from oacp_storage_conformance.clauses.damage import DamageClause
from oacp_storage_conformance.clauses.deletion import DeletionClause
from oacp_storage_conformance.clauses.durability import DurabilityClause
from oacp_storage_conformance.clauses.health import HealthClause
from oacp_storage_conformance.clauses.history import HistoryClause
from oacp_storage_conformance.clauses.idempotency import IdempotencyClause
from oacp_storage_conformance.clauses.imports import ImportClause
from oacp_storage_conformance.clauses.loops import LoopsClause
from oacp_storage_conformance.clauses.names import NamesClause
from oacp_storage_conformance.clauses.order import OrderClause
from oacp_storage_conformance.clauses.outages import OutagesClause
from oacp_storage_conformance.clauses.payloads import PayloadsClause
from oacp_storage_conformance.clauses.reference import ReferenceClause
from oacp_storage_conformance.clauses.retention import RetentionClause
from oacp_storage_conformance.clauses.schema import SchemaClause
from oacp_storage_conformance.clauses.sizes import SizesClause
from oacp_storage_conformance.clauses.tenants import TenantsClause
from oacp_storage_conformance.clauses.times import TimeClause
from oacp_storage_conformance.clauses.turns import TurnsClause
from oacp_storage_conformance.clauses.versions import VersionsClause
from oacp_storage_conformance.clauses.watch import WatchClause
from oacp_storage_conformance.clauses.where import WhereClause


class StorageConformance(
    # pytest collects from the last base to the first: what is simple comes first in a session.
    ReferenceClause,
    OutagesClause,
    SchemaClause,
    DamageClause,
    DurabilityClause,
    ConcurrencyClause,
    CancellationClause,
    LoopsClause,
    ImportClause,
    TenantsClause,
    WatchClause,
    WhereClause,
    DeletionClause,
    RetentionClause,
    SizesClause,
    TurnsClause,
    VersionsClause,
    NamesClause,
    PayloadsClause,
    TimeClause,
    IdempotencyClause,
    HistoryClause,
    OrderClause,
    HealthClause,
    CapabilitiesClause,
    ConformanceBase,
):
    """Every sentence of the contract as tests. Subclass it, and give the fixture ``storage_source``::

        class TestMine(StorageConformance):
            @pytest.fixture
            def storage_source(self, tmp_path):
                return f"mine:///{tmp_path}/store"

    See the package's README for ``storage_tamper``, ``expected_failures`` and the command.
    """

    _is_the_suite = True
