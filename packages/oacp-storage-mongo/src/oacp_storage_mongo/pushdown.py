"""What of a reader's filter the server applies: times exactly, and sure misses of ``where`` by the projection."""

from __future__ import annotations

from typing import Any

from oacp_storage_core import Term
from oacp_storage_engine import Hint

_INT64 = range(-(2**63), 2**63)
_DEEPEST = 80  # segments; the server takes paths of a hundred
_ORDERS = frozenset({"$gt", "$gte", "$lt", "$lte"})


def conditions(hint: Hint | None) -> dict[str, Any]:
    """Conditions for a ``$match`` over interactions, which leave out nothing that the reader wants.

    The server finds at least what the terms find: it searches arrays too, and takes null for missing. What has no
    projection is always found.
    """
    if hint is None:
        return {}
    found: dict[str, Any] = {}
    if hint.since_us is not None:
        found.setdefault("at_us", {})["$gte"] = hint.since_us
    if hint.until_us is not None:
        found.setdefault("at_us", {})["$lt"] = hint.until_us
    terms = [{path: condition} for path, condition in map(_condition, hint.terms) if condition]
    if terms:
        found["$or"] = [{"data": {"$exists": False}}, {"$and": terms}]
    return found


def _condition(term: Term) -> tuple[str, dict[str, Any]]:
    """The path and condition of a term, or an empty condition where the server could miss something."""
    path = ".".join(("data", *term.path))
    if len(term.path) > _DEEPEST or not all(map(_is_plain, term.path)):
        return path, {}
    if term.operator == "$eq" and _is_scalar(term.value):
        return path, {"$eq": term.value}
    if term.operator == "$in" and all(map(_is_scalar, term.value)):
        return path, {"$in": list(term.value)}
    if term.operator in _ORDERS and _is_scalar(term.value):
        return path, {term.operator: term.value}
    if term.operator == "$exists" and term.value:
        return path, {"$exists": True}
    return path, {}  # negations, and the equality of objects and arrays, are for the reader


def _is_plain(segment: str) -> bool:
    return bool(segment) and "." not in segment and "\0" not in segment and segment[0] != "$"


def _is_scalar(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    return isinstance(value, str | float) or (isinstance(value, int) and value in _INT64)
