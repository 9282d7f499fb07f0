"""oacp-storage-core: the interface of oacp-storage, its records, errors and rules, and the registry of backends.

Everything public is imported from here; what is not needed at once is loaded at first use, so that importing
this package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oacp_storage_core.arguments import (
    HistoryQuery,
    NewInteraction,
    RetentionPick,
)
from oacp_storage_core.backend import INTERFACE_VERSIONS, StorageBackend
from oacp_storage_core.capability import ALL_CAPABILITIES, Capability
from oacp_storage_core.errors import (
    BackendConflictError,
    BackendLoadError,
    BackendLookupError,
    BackendNotFoundError,
    CorruptDataError,
    DuplicateIdError,
    InvalidKeyError,
    InvalidPayloadError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SchemaVersionError,
    StorageClosedError,
    StorageConfigError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
    StorageUsageError,
    UnsupportedOperationError,
    VersionConflictError,
)
from oacp_storage_core.records import (
    Damage,
    DataKind,
    Deletion,
    Document,
    Durability,
    Health,
    Interaction,
    Turn,
)
from oacp_storage_core.storage import Change, Storage, Where
from oacp_storage_core.where import Predicate, Term, compile_where

if TYPE_CHECKING:
    from oacp_storage_core.adapter import adapt
    from oacp_storage_core.config import create_storage, open_storage
    from oacp_storage_core.hooks import HookConfig, hookimpl
    from oacp_storage_core.memory import MemoryStorage
    from oacp_storage_core.registry import BackendInfo, available_backends, load_backend
    from oacp_storage_core.sync import SyncStorage
    from oacp_storage_core.typed_constructors import typed_options
    from oacp_storage_core.urls import redact_url, split_url
    from oacp_storage_core.wrapper import StorageWrapper

_LAZY = {
    "BackendInfo": "registry",
    "HookConfig": "hooks",
    "MemoryStorage": "memory",
    "StorageWrapper": "wrapper",
    "SyncStorage": "sync",
    "adapt": "adapter",
    "available_backends": "registry",
    "create_storage": "config",
    "hookimpl": "hooks",
    "load_backend": "registry",
    "open_storage": "config",
    "redact_url": "urls",
    "split_url": "urls",
    "typed_options": "typed_constructors",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "ALL_CAPABILITIES",
    "INTERFACE_VERSIONS",
    "BackendConflictError",
    "BackendInfo",
    "BackendLoadError",
    "BackendLookupError",
    "BackendNotFoundError",
    "Capability",
    "Change",
    "CorruptDataError",
    "Damage",
    "DataKind",
    "Deletion",
    "Document",
    "DuplicateIdError",
    "Durability",
    "Health",
    "HistoryQuery",
    "HookConfig",
    "Interaction",
    "InvalidKeyError",
    "InvalidPayloadError",
    "MemoryStorage",
    "NewInteraction",
    "OutcomeUnknownError",
    "PayloadTooLargeError",
    "Predicate",
    "RetentionPick",
    "SchemaVersionError",
    "Storage",
    "StorageBackend",
    "StorageClosedError",
    "StorageConfigError",
    "StorageConnectionError",
    "StorageError",
    "StorageTimeoutError",
    "StorageUsageError",
    "StorageWrapper",
    "SyncStorage",
    "Term",
    "Turn",
    "UnsupportedOperationError",
    "VersionConflictError",
    "Where",
    "adapt",
    "available_backends",
    "compile_where",
    "create_storage",
    "hookimpl",
    "load_backend",
    "open_storage",
    "redact_url",
    "split_url",
    "typed_options",
]
