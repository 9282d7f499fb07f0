"""Pushdown: SQLite may leave out sure misses, and nothing else."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oacp_storage_core import compile_where
from oacp_storage_core.payload import encode
from oacp_storage_engine import Hint, interaction_crc
from oacp_storage_sqlite.pushdown import filter_of, install

AGENT = "ann \U0001f600"
AT_US = 1_700_000_000_000_000

LETTERS = 'ab01\0"\\é\U0001f600\n.$/~ '
TEXT = st.text(st.sampled_from(LETTERS), max_size=3)
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 10**400, -(10**400)])
    | st.sampled_from(
        [0.5, -0.0, 0.0, 1.0, 1e16, 1e22, 1e300, 1e308, 5e-324, 2.2250738585072014e-308, 0.1, 1 / 3]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)
PAYLOADS = st.dictionaries(TEXT, VALUES, max_size=4)


def paths_of(value: Any) -> Iterator[list[str]]:
    """The paths of everything in a payload."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield [str(key)]
        for rest in paths_of(child):
            yield [str(key), *rest]


def value_at(payload: Any, path: list[str]) -> Any:
    for segment in path:
        payload = payload[int(segment)] if isinstance(payload, list) else payload[segment]
    return payload


@st.composite
def questions(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A payload, and conditions that it often meets."""
    payload = draw(PAYLOADS)
    known = [*paths_of(payload)]
    where = {}
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(known)) if known else ["a"]
        near = st.just(value_at(payload, path) if known else None) | VALUES
        if draw(st.integers(0, 4)) == 0:
            path = draw(st.lists(TEXT, min_size=1, max_size=3))
        operator = draw(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$exists"]))
        wanted = draw({"$in": st.lists(near, max_size=3), "$exists": st.booleans()}.get(operator, near))
        pointer = "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in path)
        where[pointer] = {operator: wanted}
    return payload, where


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.text_factory = bytes
    connection.execute("CREATE TABLE log (id TEXT, at_us INTEGER, crc INTEGER, body TEXT, sequence INTEGER)")
    install(connection)
    yield connection
    connection.close()


def passes(
    connection: sqlite3.Connection, payload: dict[str, Any], hint: Hint | None, *, crc: int | None = None
) -> bool:
    """Whether a record of this payload passes the filter."""
    body = encode(payload)[0]
    return stored_passes(connection, body, hint, crc=crc)


def stored_passes(
    connection: sqlite3.Connection,
    body: bytes,
    hint: Hint | None,
    *,
    crc: int | None = None,
    stored: str = "CAST(? AS TEXT)",
) -> bool:
    connection.execute("DELETE FROM log")
    checksum = interaction_crc(AGENT, "id", AT_US, body) if crc is None else crc
    connection.execute(f"INSERT INTO log VALUES ('id', ?, ?, {stored}, 0)", (AT_US, checksum, body))
    condition, values = filter_of(hint, AGENT)
    return connection.execute(f"SELECT 1 FROM log WHERE 1{condition}", values).fetchone() is not None


def hint_of(where: dict[str, Any]) -> Hint:
    predicate = compile_where(where)
    assert predicate is not None
    return Hint(terms=predicate.terms)


@settings(max_examples=500, deadline=None)
@given(questions())
@example(({"a": "x\0y"}, {"a": "x\0y"}))
@example(({"a": "x\0y"}, {"a": {"$gt": "x"}}))
@example(({"a": 2**63}, {"a": 2**63}))
@example(({"a": 10**400}, {"a": {"$gt": 10**300}}))
@example(({"a": -(10**400)}, {"a": {"$lt": -(10**399)}}))
@example(({"a": 5e-324}, {"a": {"$gt": 0}}))
@example(({"a": [{"0": 1}]}, {"a.0.0": 1}))
@example(({"a": True}, {"a": {"$ne": 1}}))
@example(({"": 1}, {"/": 1}))
@example(({'a"b': 1}, {'/a"b': 1}))
@example(({"a\nb": 1}, {"/a\nb": 1}))
def test_what_may_pass_is_never_left_out(
    connection: sqlite3.Connection, question: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    payload, where = question
    predicate = compile_where(where)
    assert predicate is not None
    if predicate(payload):
        assert passes(connection, payload, hint_of(where))


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ({"type": "message"}, {"type": "tool_call"}),
        ({"type": "message"}, {"type": None}),
        ({"type": "message"}, {"type": 1}),
        ({"type": "message"}, {"type": {"$in": ["a", "b", 1, None, [1]]}}),
        ({"type": "message"}, {"type": {"$in": []}}),
        ({"type": "message"}, {"type": {"$gt": "n"}}),
        ({"type": "message"}, {"type": {"$lt": "m"}}),
        ({"type": "message"}, {"type": {"$gt": 1}}),
        ({"type": "message"}, {"type": {"$exists": False}}),
        ({"type": "message"}, {"kind": {"$exists": True}}),
        ({"type": "message"}, {"kind": "message"}),
        ({"type": None}, {"type": {"$ne": None}}),
        ({"data": {"arguments": [1, {"ok": True}]}}, {"data.arguments.1.ok": False}),
        ({"data": {"arguments": [1, {"ok": True}]}}, {"data.arguments.2": {"$exists": True}}),
        ({"a.b": 1}, {"/a.b": 2}),
        ({"a.b": 1}, {"a.b": 1}),
        ({"n": 1}, {"n": 2}),
        ({"n": 1}, {"n": 1.001}),
        ({"n": True}, {"n": 1}),
        ({"n": 10}, {"n": {"$gt": 11}}),
        ({"n": -1e300}, {"n": {"$gte": 0}}),
        ({"n": 10**25}, {"n": {"$lt": 10**24}}),
        ({"n": []}, {"n": {}}),
        ({"é\U0001f600": "ö"}, {"é\U0001f600": "o"}),
    ],
)
def test_sure_misses_are_left_out(
    connection: sqlite3.Connection, payload: dict[str, Any], where: dict[str, Any]
) -> None:
    predicate = compile_where(where)
    assert predicate is not None
    assert not predicate(payload)
    assert not passes(connection, payload, hint_of(where))


def test_times_are_compared(connection: sqlite3.Connection) -> None:
    assert passes(connection, {}, Hint(since_us=AT_US))
    assert not passes(connection, {}, Hint(since_us=AT_US + 1))
    assert passes(connection, {}, Hint(until_us=AT_US + 1))
    assert not passes(connection, {}, Hint(until_us=AT_US))


@pytest.mark.parametrize("hint", [Hint(since_us=AT_US + 1), hint_of({"a": 2})])
def test_a_damaged_record_is_never_left_out(connection: sqlite3.Connection, hint: Hint) -> None:
    assert not passes(connection, {"a": 1}, hint)
    assert passes(connection, {"a": 1}, hint, crc=1)
    for broken in (b'{"a":1', b"\xff\xfe", b"", b"[1]"):
        assert stored_passes(connection, broken, hint, crc=1)
        assert stored_passes(connection, broken, hint, crc=1, stored="?")  # a BLOB, where text belongs


def test_too_much_to_ask_is_not_asked() -> None:
    assert filter_of(None, AGENT) == ("", [])
    assert filter_of(Hint(), AGENT) == ("", [])
    assert filter_of(hint_of({"a": {"$in": list(range(101))}}), AGENT) == ("", [])
    assert filter_of(hint_of({"0.1.2": 1}), AGENT) == ("", [])
    assert filter_of(hint_of({"a": {"$ne": "x"}}), AGENT) == ("", [])


@pytest.mark.parametrize("value", [0, 1, -1, 0.1, -0.0, 5e-324, 1e300, -1e300, 2**53 + 1])
def test_numbers_are_compared_with_room_for_rounding(value: float) -> None:
    """Not every SQLite rounds decimal digits exactly as Python does."""
    _, (_, _, low, high, _) = filter_of(hint_of({"a": value}), AGENT)
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert math.nextafter(low, math.inf) < value < math.nextafter(high, -math.inf)
