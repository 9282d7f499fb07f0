"""``where=``: the one predicate over payloads. Stores may discard sure misses; this decides the rest.

A ``where`` is a mapping from path to value or to operators; all must hold. See ``compile_where``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from oacp_storage_core.errors import InvalidPayloadError
from oacp_storage_core.payload import encode_value

Operator = Literal["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$exists"]
OPERATORS: frozenset[str] = frozenset(get_args(Operator))

_MISSING: Any = object()
_BAD_ESCAPE = re.compile("~(?![01])")


class Term(NamedTuple):
    """One condition: the value at ``path`` compared by ``operator`` with ``value``.

    ``path`` holds the segments (keys, or decimal indexes into arrays), ``value`` is plain JSON: anything
    for ``$eq`` and ``$ne``, a list for ``$in``, a bool for ``$exists``, a number or text for the orders.
    """

    path: tuple[str, ...]
    operator: Operator
    value: Any


class Predicate:
    """A compiled ``where``: call it with a payload; ``terms`` is what stores push down."""

    __slots__ = ("terms",)

    def __init__(self, terms: tuple[Term, ...]) -> None:
        self.terms = terms

    def __call__(self, payload: dict[str, Any]) -> bool:
        """Whether all terms hold for the payload."""
        return all(_COMPARE[term.operator](lookup(payload, term.path), term.value) for term in self.terms)


def compile_where(where: object) -> Predicate | None:
    """Check a ``where=`` and compile it; None stays None, ``ValueError`` says what is wrong.

    A path is dotted (``data.arguments.0``), or a JSON Pointer (RFC 6901) when it begins with ``/``.
    Segments are keys or array indexes; arrays are never searched. A non-empty mapping whose keys all
    begin with ``$`` is operators, any other value is compared for equality. Numbers compare by exact value
    (1 equals 1.0, true is no number), text by code points; order between other types is false. ``$ne``
    negates ``$eq``, so it holds where the path is missing; null is not missing. Objects compare without
    key order.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise ValueError(f"where must be a mapping from path to value, not {type(where).__name__}")
    terms: list[Term] = []
    for path, wanted in where.items():
        if not isinstance(path, str):
            raise ValueError(f"where: the path {path!r} must be a str, not {type(path).__name__}")
        segments = parse_path(path)
        if (
            isinstance(wanted, Mapping)
            and wanted
            and all(isinstance(k, str) and k[:1] == "$" for k in wanted)
        ):
            terms.extend(_term(path, segments, operator, value) for operator, value in wanted.items())
        else:
            terms.append(_term(path, segments, "$eq", wanted))
    return Predicate(tuple(terms))


def parse_path(path: str) -> tuple[str, ...]:
    """The segments of a dotted path or a JSON Pointer; ``ValueError`` for a broken one."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"where: the path {path!a} has a lone surrogate, which no payload has") from None
    if not path.startswith("/"):
        return tuple(path.split("."))
    if _BAD_ESCAPE.search(path):
        raise ValueError(f"where: {path!r} is not a JSON Pointer: write ~ as ~0 and / as ~1")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/"))


def lookup(payload: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value at the path, or a private marker that equals nothing when there is none."""
    value: Any = payload
    for segment in path:
        if isinstance(value, dict):
            value = value.get(segment, _MISSING)
        elif isinstance(value, list) and _is_index(segment) and int(segment) < len(value):
            value = value[int(segment)]
        else:
            return _MISSING
        if value is _MISSING:
            return _MISSING
    return value


def _is_index(segment: str) -> bool:
    digits = segment.isascii() and segment.isdigit() and len(segment) < 10
    return digits and (segment == "0" or segment[0] != "0")


def _term(path: str, segments: tuple[str, ...], operator: str, value: object) -> Term:
    if operator not in OPERATORS:
        raise ValueError(
            f"where: {path!r} uses {operator!r}; the operators are {', '.join(get_args(Operator))}"
        )
    if operator == "$exists" and not isinstance(value, bool):
        raise ValueError(f"where: {path!r}: $exists takes True or False, not {type(value).__name__}")
    if operator == "$in" and not isinstance(value, list | tuple):
        raise ValueError(f"where: {path!r}: $in takes a list, not {type(value).__name__}")
    at = f"where {path!r}"
    try:
        if operator == "$in" and isinstance(value, list | tuple):
            plain = [encode_value(item, at=f"{at}: $in[{i}]")[1] for i, item in enumerate(value)]
        else:
            plain = encode_value(value, at=at)[1]
    except InvalidPayloadError as exc:
        raise ValueError(str(exc)) from exc
    return Term(segments, operator, plain)  # type: ignore[arg-type]  # checked against OPERATORS above


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(one: Any, other: Any) -> bool:
    """Equality of JSON values: numbers by exact value, booleans only with booleans, objects without order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return len(one) == len(other) and all(k in other and equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    return type(one) is type(other) and bool(one == other)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(found: Any, wanted: Any) -> bool:
        if isinstance(found, str) and isinstance(wanted, str):
            return compare(found, wanted)
        return _is_number(found) and _is_number(wanted) and compare(found, wanted)

    return holds


_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    "$eq": equal,
    "$ne": lambda found, wanted: not equal(found, wanted),
    "$gt": _ordered(lambda found, wanted: found > wanted),
    "$gte": _ordered(lambda found, wanted: found >= wanted),
    "$lt": _ordered(lambda found, wanted: found < wanted),
    "$lte": _ordered(lambda found, wanted: found <= wanted),
    "$in": lambda found, wanted: any(equal(found, item) for item in wanted),
    "$exists": lambda found, wanted: (found is not _MISSING) is wanted,
}
