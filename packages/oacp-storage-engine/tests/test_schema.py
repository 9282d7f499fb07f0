"""Schema versions: which upgrades a store needs, and which stores are refused."""

import pytest

from oacp_storage_core import SchemaVersionError
from oacp_storage_engine import pending_upgrades

STEPS = {2: "to 2", 3: "to 3", 4: "to 4"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [(4, []), (3, [(4, "to 4")]), (1, [(2, "to 2"), (3, "to 3"), (4, "to 4")])],
)
def test_older_stores_are_upgraded_step_by_step(found: int, expected: list[tuple[int, str]]) -> None:
    assert pending_upgrades("the database", found, 4, STEPS) == expected


def test_a_newer_store_is_refused() -> None:
    with pytest.raises(SchemaVersionError, match=r"the database has schema version 5; .* up to 4: upgrade"):
        pending_upgrades("the database", 5, 4, STEPS)


def test_a_store_that_there_is_no_way_from_is_refused() -> None:
    with pytest.raises(
        SchemaVersionError, match="cannot upgrade it to 1: open it once with an older release"
    ):
        pending_upgrades("the database", 0, 4, STEPS)
