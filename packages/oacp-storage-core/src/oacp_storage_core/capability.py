"""Capabilities: what a storage declares that it can do, beyond the four methods every backend has."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """One promise of the contract; declared as a whole or not at all."""

    IDEMPOTENT_APPEND = "idempotent_append"
    BATCH_APPEND = "batch_append"
    HISTORY = "history"
    VERSIONED_STATE = "versioned_state"
    LEARNING_DATA = "learning_data"
    SYSTEM_STATE = "system_state"
    TURN = "turn"
    AGENTS = "agents"
    RETENTION = "retention"
    WATCH = "watch"
    NAMESPACES = "namespaces"
    VERIFY = "verify"
    IMPORT = "import"


ALL_CAPABILITIES: frozenset[Capability] = frozenset(Capability)
