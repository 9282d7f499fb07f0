"""Records: immutable, compared by value, and able to cross process boundaries."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from oacp_storage_core import Damage, Deletion, Document, Health, Interaction, Turn

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RECORDS = [
    Interaction("a", "i", 1, NOW, {"x": [1]}),
    Document("k", {"x": 1}, 2, NOW),
    Turn((Interaction("a", "i", 1, NOW, {}),), Document("", {}, 1, NOW), {"k": Document("k", {}, 1, NOW)}),
    Deletion("a", 1, 0, 2),
    Health(ok=True, backend="B"),
    Damage("interaction", "why", agent_id="a", sequence=3),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_cannot_be_changed(record: Any) -> None:
    for field in record.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(record, field, None)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_survives_pickling_and_copying(record: Any) -> None:
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record


def test_is_compared_by_value() -> None:
    assert Interaction("a", "i", 1, NOW, {"x": 1}) == Interaction("a", "i", 1, NOW, {"x": 1})
    assert Interaction("a", "i", 1, NOW, {"x": 1}) != Interaction("a", "i", 2, NOW, {"x": 1})


def test_shows_its_fields() -> None:
    assert repr(Deletion("a", 1, 0, 2)) == "Deletion(agent_id='a', interactions=1, states=0, learning=2)"


@pytest.mark.parametrize("counts", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_a_deletion_is_true_when_it_removed_anything(counts: tuple[int, int, int]) -> None:
    assert Deletion("a", *counts)
    assert not Deletion("a", 0, 0, 0)


def test_defaults_promise_nothing() -> None:
    health = Health(ok=False, backend="B")
    assert (health.latency, health.durability, health.warnings, health.error) == (None, "unknown", (), None)
    assert Turn((), None, {}).replayed is False
