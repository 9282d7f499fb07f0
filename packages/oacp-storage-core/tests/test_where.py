"""``where=``: every clause of the contract, and a naive oracle for all the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oacp_storage_core import Predicate, Term, compile_where
from oacp_storage_core.where import equal, parse_path


def holds(where: Any, payload: dict[str, Any]) -> bool:
    predicate = compile_where(where)
    assert isinstance(predicate, Predicate)
    return predicate(payload)


def test_none_is_no_condition_and_an_empty_mapping_is_one_that_always_holds() -> None:
    assert compile_where(None) is None
    assert holds({}, {})
    assert holds({}, {"a": 1})


def test_all_must_hold() -> None:
    where = {"a": 1, "b": 2}
    assert holds(where, {"a": 1, "b": 2, "c": 3})
    assert not holds(where, {"a": 1, "b": 3})
    assert not holds(where, {"a": 1})


def test_terms_are_what_stores_push_down() -> None:
    predicate = compile_where({"a.b": {"$gte": 1, "$lt": 5}, "/c": None, "d": {"$in": ("x", 1)}})
    assert predicate is not None
    assert predicate.terms == (
        Term(("a", "b"), "$gte", 1),
        Term(("a", "b"), "$lt", 5),
        Term(("c",), "$eq", None),
        Term(("d",), "$in", ["x", 1]),
    )


def test_terms_do_not_change_with_the_callers_object() -> None:
    wanted = {"x": [1]}
    predicate = compile_where({"a": wanted})
    wanted["x"].append(2)
    assert predicate is not None
    assert predicate({"a": {"x": [1]}})


# --- paths -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("a", ("a",)),
        ("a.b.0.c", ("a", "b", "0", "c")),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
        (".", ("", "")),
        ("a.", ("a", "")),
        ("$eq", ("$eq",)),
        ("a/b", ("a/b",)),
        ("a~b", ("a~b",)),
        ("/", ("",)),
        ("//", ("", "")),
        ("/a.b", ("a.b",)),
        ("/a/b/0", ("a", "b", "0")),
        ("/a~1b", ("a/b",)),
        ("/a~0b", ("a~b",)),
        ("/~01", ("~1",)),  # not "/": the order of unescaping matters
        ("/~00", ("~0",)),
        ("/~1~0", ("/~",)),
        ("/\0", ("\0",)),
    ],
)
def test_paths(path: str, segments: tuple[str, ...]) -> None:
    assert parse_path(path) == segments


def test_every_key_can_be_reached_by_a_pointer() -> None:
    for key in ("", ".", "a.b", "/", "~", "~0", "~1", "$set", "\0", "0", "é", " "):
        pointer = "/" + key.replace("~", "~0").replace("/", "~1")
        assert holds({pointer: 1}, {key: 1})


def test_segments_are_keys_or_array_indexes() -> None:
    payload = {"rows": [{"id": 7}, {"id": 8}], "map": {"0": "zero", "01": "one"}, "text": "abc"}
    assert holds({"rows.1.id": 8}, payload)
    assert holds({"/rows/0/id": 7}, payload)
    assert holds({"map.0": "zero"}, payload), "a digit is a key where an object is"
    assert holds({"map.01": "one"}, payload)
    assert holds({"text.0": {"$exists": False}}, payload), "text is not an array"
    assert holds({"rows.1.id.x": {"$exists": False}}, payload)


@pytest.mark.parametrize(
    "segment", ["2", "-1", "00", "01", "+1", " 1", "1 ", "1.0", "", "x", "\u0661", "\u00b2", "9" * 30, "1_0"]
)
def test_only_plain_decimal_indexes_within_the_array_count(segment: str) -> None:
    assert not holds({f"/rows/{segment}": {"$exists": True}}, {"rows": [1, 2]})


def test_arrays_are_never_searched() -> None:
    payload = {"tags": ["a", "b"], "rows": [{"id": 1}]}
    assert not holds({"tags": "a"}, payload)
    assert not holds({"rows.id": 1}, payload)
    assert not holds({"tags": {"$in": ["a", "b"]}}, payload)
    assert holds({"tags": ["a", "b"]}, payload)
    assert holds({"tags": {"$in": [["a", "b"]]}}, payload)


# --- values and operators --------------------------------------------------------------------------------


def test_only_mappings_of_operators_are_operators() -> None:
    assert holds({"a": {"$gt": 1}}, {"a": 2})
    assert holds({"a": MappingProxyType({"$gt": 1})}, {"a": 2})
    assert holds({"a": {}}, {"a": {}}), "an empty mapping is a value"
    assert not holds({"a": {}}, {"a": {"b": 1}})
    mixed = {"$gt": 1, "b": 2}
    assert holds({"a": mixed}, {"a": mixed}), "one ordinary key makes it a value"
    assert not holds({"a": mixed}, {"a": 2})
    assert holds({"a": {"$eq": {"$gt": 1}}}, {"a": {"$gt": 1}}), "$eq compares with anything"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        (2**53, float(2**53)),
        (10**30, 10**30),
        (None, None),
        (True, True),
        ("é", "é"),
        ([1, [2.0]], [1.0, [2]]),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}),
        ([], []),
    ],
)
def test_equal(one: Any, other: Any) -> None:
    assert equal(one, other)
    assert equal(other, one)
    assert holds({"a": one}, {"a": other})
    assert holds({"a": {"$in": [other]}}, {"a": one})
    assert not holds({"a": {"$ne": one}}, {"a": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (False, 0),
        (True, 1.0),
        (None, False),
        (None, 0),
        (None, ""),
        (1, "1"),
        (2**53 + 1, float(2**53)),
        (10**400, 1e308),
        (0.1, 1),
        ("a", "A"),
        ("é", "e\u0301"),
        ("a", ["a"]),
        ([], {}),
        ([1], [True]),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
    ],
)
def test_not_equal(one: Any, other: Any) -> None:
    assert not equal(one, other)
    assert not equal(other, one)
    assert not holds({"a": {"$eq": one}}, {"a": other})
    assert not holds({"a": {"$in": [other]}}, {"a": one})
    assert holds({"a": {"$ne": one}}, {"a": other})


@pytest.mark.parametrize(
    ("smaller", "greater"),
    [
        (1, 2),
        (1, 1.5),
        (-0.5, 0),
        (float(2**53), 2**53 + 1),
        (1e308, 10**400),
        ("", "a"),
        ("Z", "a"),
        ("a", "aa"),
        ("10", "9"),
        ("\uffff", "\U00010000"),  # code points; UTF-16 would have it the other way round
        ("\ud7ff", "\ue000"),
    ],
)
def test_order(smaller: Any, greater: Any) -> None:
    for operator, at_smaller, at_equal, at_greater in (
        ("$lt", True, False, False),
        ("$lte", True, True, False),
        ("$gt", False, False, True),
        ("$gte", False, True, True),
    ):
        assert holds({"a": {operator: greater}}, {"a": smaller}) is at_smaller
        assert holds({"a": {operator: smaller}}, {"a": smaller}) is at_equal
        assert holds({"a": {operator: smaller}}, {"a": greater}) is at_greater


@pytest.mark.parametrize("operator", ["$lt", "$lte", "$gt", "$gte"])
@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (1, "1"),
        ("1", 1),
        (True, 1),
        (1, True),
        (True, True),
        (None, None),
        (None, 1),
        ([1], [1]),
        ({}, {}),
        ("a", ["a"]),
    ],
)
def test_no_order_between_anything_else(operator: str, found: Any, wanted: Any) -> None:
    assert not holds({"a": {operator: wanted}}, {"a": found})


def test_missing_is_not_null() -> None:
    assert holds({"a": None}, {"a": None})
    assert not holds({"a": None}, {})
    assert not holds({"a": {"$in": [None]}}, {})
    assert holds({"a": {"$exists": True}}, {"a": None})
    assert not holds({"a": {"$exists": False}}, {"a": None})
    assert holds({"a": {"$exists": False}}, {"b": 1})
    assert not holds({"a": {"$exists": True}}, {"b": 1})


def test_missing_is_unequal_to_everything_and_in_no_order() -> None:
    assert holds({"a": {"$ne": 1}}, {})
    assert holds({"a": {"$ne": None}}, {})
    for operator in ("$lt", "$lte", "$gt", "$gte"):
        assert not holds({"a": {operator: 1}}, {})
    assert not holds({"a": {"$in": []}}, {})
    assert not holds({"a": {"$in": []}}, {"a": 1})


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([], "where must be a mapping from path to value, not list"),
        ("a=1", "where must be a mapping from path to value, not str"),
        ({1: 2}, "where: the path 1 must be a str, not int"),
        ({"/a~2": 1}, "where: '/a~2' is not a JSON Pointer: write ~ as ~0 and / as ~1"),
        ({"/a~": 1}, "where: '/a~' is not a JSON Pointer: write ~ as ~0 and / as ~1"),
        ({"/~~01": 1}, "where: '/~~01' is not a JSON Pointer: write ~ as ~0 and / as ~1"),
        ({"a\ud800": 1}, "where: the path 'a\\ud800' has a lone surrogate, which no payload has"),
        (
            {"a": {"$regex": "x"}},
            "where: 'a' uses '$regex'; the operators are $eq, $ne, $gt, $gte, $lt, $lte, $in, $exists",
        ),
        (
            {"a": {"$gt": 1, "$not": 1}},
            "where: 'a' uses '$not'; the operators are $eq, $ne, $gt, $gte, $lt, $lte, $in, $exists",
        ),
        ({"a": {"$exists": 1}}, "where: 'a': $exists takes True or False, not int"),
        ({"a": {"$exists": None}}, "where: 'a': $exists takes True or False, not NoneType"),
        ({"a": {"$in": "abc"}}, "where: 'a': $in takes a list, not str"),
        ({"a": {"$in": {1}}}, "where: 'a': $in takes a list, not set"),
        ({"a": {"$in": {"b": 1}}}, "where: 'a': $in takes a list, not dict"),
        ({"a": math.nan}, "where 'a': nan is not JSON; use None or text"),
        ({"a": {"$gt": math.inf}}, "where 'a': inf is not JSON; use None or text"),
        ({"a": (1, 2)}, "where 'a': tuple is not JSON; use list(value)"),
        ({"a.b": {"c": [b"x"]}}, "where 'a.b'.c[0]: bytes is not JSON; use base64 text"),
        ({"a": {"$in": [1, {2}]}}, "where 'a': $in[1]: set is not JSON; use sorted(value)"),
        ({"a": {1: 2}}, "where 'a': a key is the int 1; keys must be str: use str(key)"),
    ],
)
def test_what_cannot_be_asked(where: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^where") as caught:
        compile_where(where)
    assert str(caught.value) == message
    assert type(caught.value) is ValueError


def test_values_may_be_as_deep_as_payloads() -> None:
    deepest: Any = 1
    for _ in range(95):
        deepest = [deepest]
    for wanted in (deepest, {"$eq": deepest}, {"$in": [deepest]}):
        assert holds({"a": wanted}, {"a": deepest})


# --- everything else, against an oracle ------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "", "0", "1", "a.b", "$x", "/"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 2.0**53, 2**53, 2**53 + 1, 10**400]),
    st.sampled_from(["", "a", "b", "0", "\uffff", "\U00010000"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(keys, values, max_size=4)
conditions = st.one_of(
    values,
    st.dictionaries(
        st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), values, min_size=1, max_size=3
    ),
    st.lists(values, max_size=3).map(lambda items: {"$in": items}),
    st.booleans().map(lambda wanted: {"$exists": wanted}),
)
paths = st.one_of(
    st.lists(st.sampled_from(["a", "b", "", "0", "1"]), min_size=1, max_size=3).map(".".join),
    st.lists(keys, min_size=1, max_size=3).map(
        lambda steps: "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    ),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects, st.dictionaries(paths, conditions, max_size=2))
def test_agrees_with_a_naive_oracle(payload: dict[str, Any], where: dict[str, Any]) -> None:
    if any(unknown_operators(wanted) for wanted in where.values()):
        with pytest.raises(ValueError, match="the operators are"):
            compile_where(where)
    else:
        assert holds(where, payload) == all(oracle(payload, path, wanted) for path, wanted in where.items())


def unknown_operators(wanted: Any) -> bool:
    return is_operators(wanted) and not set(wanted) <= ORACLE.keys()


def is_operators(wanted: Any) -> bool:
    return isinstance(wanted, dict) and bool(wanted) and all(key.startswith("$") for key in wanted)


def oracle(payload: Any, path: str, wanted: Any) -> bool:
    """The clauses of the contract, one after the other. What is found is a list of one value or none."""
    steps = (
        [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
        if path[:1] == "/"
        else path.split(".")
    )
    found = [payload]
    for step in steps:
        found = [below for value in found for below in children(value, step)]
    tests = wanted if is_operators(wanted) else {"$eq": wanted}
    return all(ORACLE[operator](found, value) for operator, value in tests.items())


def children(value: Any, step: str) -> list[Any]:
    if isinstance(value, dict):
        return [value[step]] if step in value else []
    if isinstance(value, list):
        return [item for i, item in enumerate(value) if str(i) == step]
    return []


def canonical(value: Any) -> Any:
    """A form in which equal values are equal in Python too."""
    if isinstance(value, dict):
        return ("object", frozenset((key, canonical(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(canonical, value)))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("number", Fraction(value))
    return (type(value).__name__, value)


def ordered(compare: Callable[[Any, Any], bool]) -> Callable[[list[Any], Any], bool]:
    def test(found: list[Any], wanted: Any) -> bool:
        if not found:
            return False
        kind, value = canonical(found[0])
        other_kind, other = canonical(wanted)
        return kind == other_kind and kind in {"number", "str"} and compare(value, other)

    return test


ORACLE: dict[str, Callable[[list[Any], Any], bool]] = {
    "$eq": lambda found, wanted: bool(found) and canonical(found[0]) == canonical(wanted),
    "$ne": lambda found, wanted: not (found and canonical(found[0]) == canonical(wanted)),
    "$in": lambda found, wanted: bool(found) and canonical(found[0]) in [canonical(item) for item in wanted],
    "$exists": lambda found, wanted: bool(found) is wanted,
    "$lt": ordered(lambda one, other: one < other),
    "$lte": ordered(lambda one, other: one <= other),
    "$gt": ordered(lambda one, other: one > other),
    "$gte": ordered(lambda one, other: one >= other),
}
