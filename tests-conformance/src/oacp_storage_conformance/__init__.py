"""The conformance suite of oacp-storage: prove that a backend keeps the contract.

Everything public is loaded at first use, because pytest imports this package in every session of an
environment that has it installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oacp_storage_conformance.clause import ClauseName, Trait
    from oacp_storage_conformance.listing import ListedTest, suite_tests
    from oacp_storage_conformance.soaking import SoakReport, soak
    from oacp_storage_conformance.sources import Source
    from oacp_storage_conformance.suite import StorageConformance
    from oacp_storage_conformance.tamper import Tamper

_LAZY = {
    "ClauseName": "clause",
    "ListedTest": "listing",
    "SoakReport": "soaking",
    "Source": "sources",
    "StorageConformance": "suite",
    "Tamper": "tamper",
    "Trait": "clause",
    "soak": "soaking",
    "suite_tests": "listing",
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
    "ClauseName",
    "ListedTest",
    "SoakReport",
    "Source",
    "StorageConformance",
    "Tamper",
    "Trait",
    "soak",
    "suite_tests",
]
