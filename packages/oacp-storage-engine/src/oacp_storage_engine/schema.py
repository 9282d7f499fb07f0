"""Schema versions: which upgrades a store needs, and the refusal of stores that are newer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from oacp_storage_core import SchemaVersionError

Step = TypeVar("Step")


def pending_upgrades(
    store: str, found: int, current: int, steps: Mapping[int, Step]
) -> list[tuple[int, Step]]:
    """The upgrade steps from schema ``found`` to ``current``, each with the version it leads to.

    ``steps[n]`` leads from version n-1 to n. Raises ``SchemaVersionError`` for a newer store, and for an
    older one that there is no way from. ``store`` describes the store in the message (no password).
    """
    if found > current:
        raise SchemaVersionError(
            f"{store} has schema version {found}; this release knows versions up to {current}: "
            "upgrade oacp-storage to the release that wrote it"
        )
    missing = [version for version in range(found + 1, current + 1) if version not in steps]
    if missing:
        raise SchemaVersionError(
            f"{store} has schema version {found}, and this release cannot upgrade it to {missing[0]}: "
            "open it once with an older release first"
        )
    return [(version, steps[version]) for version in range(found + 1, current + 1)]
