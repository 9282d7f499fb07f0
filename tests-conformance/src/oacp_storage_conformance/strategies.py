"""Random payloads, names, conditions and sequences of calls (Hypothesis strategies)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from oacp_storage_core import Capability

START = datetime(2024, 5, 1, tzinfo=UTC)
"""Given times lie in the days after this; a time that a storage made is later than all of them."""

AGENTS = ["ann", "Ann"]
KEYS = ["k", "K/\U0001f600"]
IDS = ["id 1", "id 2", "id 3"]
PATHS = ["a", "b", "a.b", "a.0", "/a/0/b", "", "c", "/", "a.1", "b.a"]

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "a", "b", "a\0", "\uffff", "\U0001f600", "e\u0301", "\u00e9", "1", "null"]
)
_numbers = (
    st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 1.0, 2**53, 2**53 + 1, float(2**53), 10**30, 1e308, 5e-324])
)
scalars = st.none() | st.booleans() | _numbers | _text
_keys = st.sampled_from(["a", "b", "c", "0", ""]) | _text
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(_keys, values, max_size=4)
"""JSON objects, with what stores are known to change: NUL, long integers, -0.0, odd keys."""

small = (
    st.sampled_from([{}, {"a": 1}, {"a": 1.0}, {"a": "x"}, {"b": [1, {"b": 2}]}, {"a": {"b": 1}}]) | payloads
)

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
"""Names of at most 48 UTF-8 bytes."""

moments = st.integers(0, 6).map(lambda hours: START + timedelta(hours=hours))

_operators = st.one_of(
    st.fixed_dictionaries({}, optional={"$gt": scalars, "$lte": scalars, "$ne": values}).filter(bool),
    st.fixed_dictionaries({"$eq": values}),
    st.fixed_dictionaries({"$in": st.lists(values, max_size=3)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$gte": scalars, "$lt": scalars}),
)
wheres = st.dictionaries(st.sampled_from(PATHS), values | _operators, max_size=2)

_versions = st.none() | st.integers(0, 4)
_limits = st.integers(0, 6)
_agent, _key = st.sampled_from(AGENTS), st.sampled_from(KEYS)
_prefix = st.sampled_from(["", "a", "A", "ann", "k", "b"])
_after = st.none() | st.sampled_from([*AGENTS, *KEYS, "a", "z"])
_history = st.fixed_dictionaries(
    {},
    optional={
        "after": st.integers(0, 8),
        "before": st.integers(0, 9),
        "since": moments,
        "until": moments,
        "where": wheres,
        "reverse": st.booleans(),
        "limit": _limits,
    },
)
_listing = st.fixed_dictionaries({"prefix": _prefix}, optional={"after": _after, "limit": _limits})

Step = tuple[str, tuple[Any, ...], dict[str, Any]]
"""One call: a name that ``oacp_storage_conformance.reference`` knows, its arguments, its keyword arguments."""


def _step(
    name: str, *arguments: st.SearchStrategy[Any], **keywords: st.SearchStrategy[Any]
) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*arguments), st.fixed_dictionaries(keywords))


def scripts(declared: AbstractSet[str], *, whole_place: bool) -> st.SearchStrategy[list[Step]]:
    """Sequences of calls that a storage of these capabilities takes.

    ``whole_place``: whether retention may be for all agents, which only a place without other data allows.
    """
    has = declared.__contains__
    steps = [
        _step("append", _agent, small),
        _step("get", _agent, _limits),
        _step("store_state", _agent, small),
        _step("get_state", _agent),
        _step("other_instance"),
    ]
    records = st.lists(st.tuples(st.none() | st.sampled_from(IDS), small), max_size=4)
    if has(Capability.IDEMPOTENT_APPEND):
        steps += [_step("append", _agent, small, ident=st.sampled_from(IDS), at=moments)] * 2
    if has(Capability.BATCH_APPEND) and has(Capability.IDEMPOTENT_APPEND):
        steps.append(_step("batch", _agent, records))
    if has(Capability.HISTORY):
        steps += [_step("history", _agent, _history)] * 2
        steps += [_step("find", _agent, st.sampled_from(IDS)), _step("count", _agent, _history)]
    if has(Capability.VERSIONED_STATE):
        steps += [
            _step("store_state", _agent, small, expected=_versions),
            _step("update_state", _agent, small),
            _step("delete_state", _agent, expected=_versions),
        ]
    if has(Capability.LEARNING_DATA):
        steps += [
            _step("store_learning", _agent, _key, small, expected=_versions),
            _step("get_learning", _agent, _key),
            _step("delete_learning", _agent, _key, expected=_versions),
            _step("list_learning", _agent, _listing),
        ]
    if has(Capability.SYSTEM_STATE):
        steps += [
            _step("store_system", _key, small, expected=_versions),
            _step("get_system", _key),
            _step("delete_system", _key, expected=_versions),
            _step("list_system", _listing),
        ]
    if has(Capability.TURN) and has(Capability.IDEMPOTENT_APPEND) and has(Capability.LEARNING_DATA):
        learning = st.dictionaries(_key, small, max_size=2)
        steps += [_step("turn", _agent, records, st.none() | small, _versions, learning)] * 2
    if has(Capability.AGENTS):
        steps += [_step("delete_agent", _agent), _step("list_agents", _listing)]
    if has(Capability.RETENTION):
        criteria = st.fixed_dictionaries(
            {},
            optional={
                "before": moments,
                "keep_last": st.integers(0, 4),
                "ids": st.lists(st.sampled_from(IDS), max_size=3),
            },
        )
        steps.append(_step("retain", _agent, criteria, dry_run=st.booleans()))
        if whole_place:
            kept = st.fixed_dictionaries({"keep_last": st.integers(0, 4)})
            steps.append(_step("retain_all", kept, dry_run=st.booleans()))
    # Lists of lists are longer on average than lists, and shrink as well.
    parts = st.lists(st.lists(st.one_of(steps), max_size=8), max_size=8)
    return parts.map(lambda lists: [step for part in lists for step in part])
