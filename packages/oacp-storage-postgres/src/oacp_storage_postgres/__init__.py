"""oacp-storage-postgres: the PostgreSQL backend of oacp-storage."""

from __future__ import annotations

from oacp_storage_postgres.staleness import stale_reads
from oacp_storage_postgres.storage import PostgreSQLStorage

__all__ = ["PostgreSQLStorage", "stale_reads"]
