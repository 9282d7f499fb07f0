"""oacp-storage-engine: what good backends share, over a small set of primitives.

A backend is an ``Engine`` (the primitives, in terms of keys, integers and bytes) and a class derived from
``EngineStorage`` with its options. Payload rules, ids, checksums, group commit, resending, loops, forks,
closing, cancellation and watching are done here.
"""

from __future__ import annotations

from oacp_storage_engine.checksum import document_crc, interaction_crc
from oacp_storage_engine.judge import DocRef, Known, Plan, Row, Snapshot, Stored, Wanted, judge, wanted
from oacp_storage_engine.primitives import (
    Append,
    Applied,
    Conflict,
    Doc,
    DocKind,
    Duplicate,
    Engine,
    Erased,
    Hint,
    Info,
    NotApplied,
    Outcome,
    Page,
    Put,
    Record,
    Rejected,
    Slot,
    Trimmed,
    Unit,
    Unknown,
)
from oacp_storage_engine.schema import pending_upgrades
from oacp_storage_engine.storage import EngineStorage

__all__ = [
    "Append",
    "Applied",
    "Conflict",
    "Doc",
    "DocKind",
    "DocRef",
    "Duplicate",
    "Engine",
    "EngineStorage",
    "Erased",
    "Hint",
    "Info",
    "Known",
    "NotApplied",
    "Outcome",
    "Page",
    "Plan",
    "Put",
    "Record",
    "Rejected",
    "Row",
    "Slot",
    "Snapshot",
    "Stored",
    "Trimmed",
    "Unit",
    "Unknown",
    "Wanted",
    "document_crc",
    "interaction_crc",
    "judge",
    "pending_upgrades",
    "wanted",
]
