"""``StorageConformance``: the whole suite as one class."""

from __future__ import annotations

from oacp_storage_conformance.base import ConformanceBase
from oacp_storage_conformance.clauses.deletion import DeletionClause
from oacp_storage_conformance.clauses.history import HistoryClause
from oacp_storage_conformance.clauses.idempotency import IdempotencyClause
from oacp_storage_conformance.clauses.order import OrderClause
from oacp_storage_conformance.clauses.payloads import PayloadsClause
from oacp_storage_conformance.clauses.retention import RetentionClause
from oacp_storage_conformance.clauses.times import TimeClause
from oacp_storage_conformance.clauses.turns import TurnsClause
from oacp_storage_conformance.clauses.versions import VersionsClause
from oacp_storage_conformance.clauses.watch import WatchClause
from oacp_storage_conformance.clauses.where import WhereClause


class StorageConformance(
    OrderClause,
    HistoryClause,
    IdempotencyClause,
    TimeClause,
    VersionsClause,
    TurnsClause,
    RetentionClause,
    DeletionClause,
    WatchClause,
    WhereClause,
    PayloadsClause,
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
