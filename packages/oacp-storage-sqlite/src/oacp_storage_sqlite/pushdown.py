"""Pushdown: lets SQLite leave out the records that a reader's filter surely misses, without decoding them.

A condition made here is true of every record that may pass, and of some that do not: the one predicate over
payloads, in core, decides. Where SQLite's view of a value is not exactly ours (text with NUL, large numbers,
keys that need escapes), the condition says less, or nothing. A record that is not as it was written is never
left out, since nobody knows what it held.
"""

from __future__ import annotations

import json
import re
import sqlite3
from functools import cache
from itertools import product

from oacp_storage_core import Term
from oacp_storage_engine import Hint, interaction_crc
from oacp_storage_sqlite.seal import seal

_INTACT = "oacp_intact"
_MAX_PATHS = 4
_MAX_CHOICES = 100
_MAX_EXACT = 1e300
_TOLERANCE = 1e-9
_TINY = 1e-300
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

Condition = tuple[str, list[object]]
"""SQL and its parameters."""


def install(connection: sqlite3.Connection) -> None:
    """Give the connection the function that the filters call."""
    connection.create_function(_INTACT, 6, _is_intact, deterministic=True)


def filter_of(hint: Hint | None, agent: str) -> Condition:
    """What to add to the WHERE of a reading of this agent's log: ``AND ...``, or nothing."""
    if hint is None:
        return "", []
    parts: list[str] = []
    values: list[object] = []
    for bound, comparison in ((hint.since_us, ">="), (hint.until_us, "<")):
        if bound is not None:
            parts.append(f"at_us {comparison} ?")
            values.append(bound)
    conditions = [condition for term in hint.terms if (condition := _condition(term)) is not None]
    if conditions and _has_json():
        inner = " AND ".join(text for text, _ in conditions)
        parts.append(f"CASE WHEN json_valid(body) THEN {inner} ELSE 1 END")
        values.extend(value for _, condition_values in conditions for value in condition_values)
    if not parts:
        return "", []
    intact = f"{_INTACT}(?, CAST(id AS BLOB), at_us, crc, CAST(body AS BLOB), sequence)"
    return f" AND (({' AND '.join(parts)}) OR NOT {intact})", [*values, agent]


def _condition(term: Term) -> Condition | None:
    """What holds of every payload that meets the term, None when nothing better than "true" is known."""
    paths = _paths(term.path)
    if paths is None:
        return None
    check = _check(term)
    if check is None:
        return None
    test, missing, values = check
    # At most one of the paths leads anywhere: a container is an object or an array, never both.
    found = " OR ".join(f"({test})" for _ in paths)
    parameters: list[object] = []
    for path in paths:
        parameters.extend(path if value is _PATH else value for value in values)
    if missing:
        nothing = " AND ".join("json_type(body, ?) IS NULL" for _ in paths)
        return f"({found} OR ({nothing}))", [*parameters, *paths]
    return f"({found})", parameters


class _Path:
    """Stands for the path among the parameters of a test."""


_PATH = _Path()
_TYPE = "json_type(body, ?)"
_VALUE = "json_extract(body, ?)"


def _check(term: Term) -> tuple[str, bool, list[object]] | None:
    """A test of the value at the path, whether a missing one passes too, and the test's parameters."""
    value = term.value
    if term.operator == "$exists":
        if value:
            return f"{_TYPE} IS NOT NULL", False, [_PATH]
        return "0", True, []
    if term.operator == "$eq":
        test = _equal(value)
        return None if test is None else (test[0], False, test[1])
    if term.operator == "$in":
        return _among(value)
    if term.operator == "$ne":
        if value is None or isinstance(value, bool):
            return f"{_TYPE} <> '{json.dumps(value)}'", True, [_PATH]
        return None
    return _ordered(">=" if term.operator in {"$gt", "$gte"} else "<=", value)


def _equal(value: object) -> Condition | None:
    if value is None or isinstance(value, bool):
        return f"{_TYPE} = '{json.dumps(value)}'", [_PATH]
    if isinstance(value, str):
        if "\0" in value:
            return f"{_TYPE} = 'text'", [_PATH]
        return f"{_TYPE} = 'text' AND {_VALUE} = ?", [_PATH, _PATH, value]
    if isinstance(value, int | float):
        bounds = _bounds(value)
        if bounds is None:
            return f"{_TYPE} IN ('integer', 'real')", [_PATH]
        return f"{_TYPE} IN ('integer', 'real') AND {_VALUE} BETWEEN ? AND ?", [_PATH, _PATH, *bounds]
    kind = "array" if isinstance(value, list) else "object"
    return f"{_TYPE} = '{kind}'", [_PATH]


def _among(values: list[object]) -> tuple[str, bool, list[object]] | None:
    if len(values) > _MAX_CHOICES:
        return None
    tests: list[str] = ["0"]
    parameters: list[object] = []
    for value in values:
        test = _equal(value)
        if test is None:
            return None
        tests.append(f"({test[0]})")
        parameters.extend(test[1])
    return " OR ".join(tests), False, parameters


def _ordered(comparison: str, value: object) -> tuple[str, bool, list[object]] | None:
    """Text cut at its NUL still lies on the same side of a text without NUL, or is equal to it."""
    if isinstance(value, str):
        if "\0" in value:
            return f"{_TYPE} = 'text'", False, [_PATH]
        return f"{_TYPE} = 'text' AND {_VALUE} {comparison} ?", False, [_PATH, _PATH, value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        numbers = f"{_TYPE} IN ('integer', 'real')"
        bounds = _bounds(value)
        if bounds is None:
            return numbers, False, [_PATH]
        bound = bounds[0] if comparison == ">=" else bounds[1]
        return f"{numbers} AND {_VALUE} {comparison} ?", False, [_PATH, _PATH, bound]
    return "0", False, []  # order holds between numbers and between texts only


def _bounds(value: float) -> tuple[float, float] | None:
    """Numbers around this one, wider than any rounding of SQLite's; None where its doubles end."""
    if abs(value) > _MAX_EXACT:
        return None
    around = abs(float(value)) * _TOLERANCE + _TINY
    return float(value) - around, float(value) + around


def _paths(segments: tuple[str, ...]) -> list[str] | None:
    """The JSON paths that the segments may mean; None when SQLite may not find what is there."""
    choices: list[tuple[str, ...]] = []
    for segment in segments:
        if not segment or _ESCAPED.search(segment):
            return None
        key = f'."{segment}"'
        choices.append((key, f"[{segment}]") if _INDEX.fullmatch(segment) else (key,))
    paths = ["$" + "".join(parts) for parts in product(*choices)]
    return paths if len(paths) <= _MAX_PATHS else None


def _is_intact(
    agent: bytes | str, interaction_id: object, at_us: object, crc: object, body: object, sequence: object
) -> bool:
    if not (isinstance(interaction_id, bytes) and isinstance(at_us, int) and isinstance(body, bytes)):
        return False
    if not isinstance(sequence, int):
        return False
    try:
        name = interaction_id.decode()
    except UnicodeDecodeError:
        return False
    owner = agent if isinstance(agent, str) else agent.decode()
    return seal(interaction_crc(owner, name, at_us, body), sequence) == crc


@cache
def _has_json() -> bool:
    """Whether this SQLite was built with its JSON functions (all are, since 3.38)."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("SELECT json_valid('{}')")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True
