"""``coerce=True``: what becomes what, and what is refused all the same."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections import OrderedDict, UserDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oacp_storage_core import InvalidPayloadError
from oacp_storage_core.arguments import check_payload
from oacp_storage_core.coerce import coerce_payload
from oacp_storage_core.payload import MAX_DEPTH, encode


class Colour(Enum):
    RED = ("r", 1)


class Level(IntEnum):
    HIGH = 3


class Mood(StrEnum):
    GLAD = "glad"


class Kind(str, Enum):  # noqa: UP042 - the older way to write a StrEnum, still common
    TOOL = "tool"


class Point(NamedTuple):
    x: int
    y: float


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


class Number(int):
    pass


class Fraction(float):
    pass


class Rows(list[Any]):
    pass


COERCED: dict[str, tuple[Any, Any]] = {
    "tuple": ((1, (2, ())), [1, [2, []]]),
    "named tuple": (Point(1, math.nan), [1, None]),
    "list subclass": (Rows([(1,)]), [[1]]),
    "set of numbers": ({10, 9, -1, 2.5}, [-1, 2.5, 9, 10]),
    "set of texts": (frozenset({"b", "a", "é"}), ["a", "b", "é"]),
    "mixed set": ({"b", 2, None, "a", 1}, [None, 1, 2, "a", "b"]),
    "set of tuples": ({(2, "b"), (1, "a")}, [[1, "a"], [2, "b"]]),
    "set of sets": ({frozenset({2, 1}), frozenset({0})}, [[0], [1, 2]]),
    "empty set": (set(), []),
    "datetime": (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
    "datetime elsewhere": (
        datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
        "2026-01-02T03:00:00-03:30",
    ),
    "naive datetime": (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),  # noqa: DTZ001
    "date": (date(2026, 1, 2), "2026-01-02"),
    "time": (time(1, 2, 3), "01:02:03"),
    "UUID": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "Enum": (Colour.RED, ["r", 1]),
    "IntEnum": (Level.HIGH, 3),
    "StrEnum": (Mood.GLAD, "glad"),
    "Enum of str": (Kind.TOOL, "tool"),
    "NaN": (math.nan, None),
    "infinity": (math.inf, None),
    "negative infinity": (-math.inf, None),
    "negative zero": (-0.0, -0.0),
    "lone surrogates": ("a\ud800b\udfff", "a\ufffdb\ufffd"),
    "astral text stays": ("\U0001f600", "\U0001f600"),
    "lone surrogate in a key": ({"a\ud800": 1}, {"a\ufffd": 1}),
    "str subclass": (Text("this text"), "this text"),
    "str subclass as key": ({Text("key"): 1, Mood.GLAD: 2, Kind.TOOL: 3}, {"key": 1, "glad": 2, "tool": 3}),
    "int subclass": (Number(7), 7),
    "float subclass": (Fraction(1.5), 1.5),
    "dict subclass": (OrderedDict(b=(1,), a=2), {"b": [1], "a": 2}),
    "UserDict": (UserDict(a=UserDict(b=(1,))), {"a": {"b": [1]}}),
    "mapping proxy": (MappingProxyType({"a": 1}), {"a": 1}),
    "true stays true": ([True, False, None], [True, False, None]),
}


@pytest.mark.parametrize(("given", "stored"), COERCED.values(), ids=COERCED.keys())
def test_turns_the_usual_into_json(given: Any, stored: Any) -> None:
    coerced = coerce_payload({"x": [given], "y": given})
    assert repr(coerced) == repr({"x": [stored], "y": stored})
    assert encode(coerced)[1] == coerced


REFUSED: dict[str, tuple[Any, str]] = {
    "bytes": (b"x", "$.x: bytes is not JSON; use base64 text"),
    "Decimal": (Decimal(1), "$.x: Decimal is not JSON; use str(value)"),
    "object": (deque([1]), "$.x: deque is not JSON; use plain dict, list, str, int, float, bool or None"),
    "int key": ({1: 2}, "$.x: a key is the int 1; keys must be str: use str(key)"),
    "Enum key": ({Level.HIGH: 2}, "$.x: a key is of type Level; keys must be str: use str(key)"),
    "two keys become one": (
        {"\ud800": 1, "\ud801": 2},  # noqa: F601 - ruff takes lone surrogates for one
        (
            "$.x: the key '\\ud800' has a lone surrogate at index 0; use coerce=True or "
            "text.encode(errors='replace').decode()"
        ),
    ),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_the_rest_is_refused_by_the_strict_rules(given: Any, message: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        check_payload({"x": given}, coerce=True)
    assert str(caught.value) == message


def test_only_on_request() -> None:
    with pytest.raises(InvalidPayloadError, match=r"^\$\.x: tuple"):
        check_payload({"x": ()}, coerce=False)
    assert check_payload(UserDict(x=()), coerce=True) == (b'{"x":[]}', {"x": []})


def test_the_given_object_is_not_changed() -> None:
    inner = {"t": (1, 2), "n": math.inf, "k\ud800": {3}}
    payload = {"a": inner, "b": [inner]}
    before = copy.deepcopy(payload)
    coerced = coerce_payload(payload)
    assert payload == before
    assert isinstance(coerced, dict)
    coerced["b"].append(1)
    assert len(payload["b"]) == 1


def test_what_contains_itself_is_refused_and_named() -> None:
    wide: list[Any] = []
    wide.extend([wide] * 10)  # whoever tries all the ways down never ends
    with pytest.raises(
        InvalidPayloadError, match=r"^\$\.x\[0\]\[0\].*: nested deeper than 96 levels \(or contains"
    ):
        coerce_payload({"x": wide})
    payload: dict[str, Any] = {}
    payload["me"] = (payload,)
    with pytest.raises(InvalidPayloadError, match=r"^\$\[3\]\.me\[0\]\.me\[0\].*contains itself"):
        coerce_payload(payload, at="$[3]")


@pytest.mark.parametrize("frames_in_use", [0, 700, 850])
def test_depth_is_that_of_the_strict_rules(frames_in_use: int) -> None:
    def tuples(depth: int) -> Any:
        value: Any = ()
        for _ in range(depth - 1):
            value = (value,)
        return {"x": value}

    def down(frames: int, payload: Any) -> Any:
        return down(frames - 1, payload) if frames else check_payload(payload, coerce=True)

    _, data = down(frames_in_use, tuples(MAX_DEPTH - 1))
    assert str(data).count("[") == MAX_DEPTH - 1
    with pytest.raises(InvalidPayloadError, match="nested deeper than 96"):
        down(frames_in_use, tuples(MAX_DEPTH))


def test_a_set_is_the_same_payload_in_every_process() -> None:
    """Else an append that is repeated from another process would have another payload."""
    program = (
        "from oacp_storage_core.coerce import coerce_payload;"
        "print(coerce_payload({'x': {'a', 'b', 1, None, ('c', 2), frozenset('def'), 2.5}}))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1, seen


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.datetimes(),
        st.dates(),
        st.uuids(),
        st.sampled_from([Colour.RED, Level.HIGH, Mood.GLAD, Text("x")]),
        st.frozensets(st.one_of(st.integers(), st.text(max_size=2), st.floats()), max_size=3),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3).map(
            UserDict
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_whatever_it_knows_becomes_storable(value: Any) -> None:
    coerced = coerce_payload({"x": value})
    assert encode(coerced)[1] == coerced
    assert repr(coerce_payload(coerced)) == repr(coerced), "JSON itself must stay as it is"
