"""What of a reader's filter PostgreSQL may apply: times exactly, and sure misses of ``where`` by the GIN index."""

from __future__ import annotations

import json
from typing import Any

from oacp_storage_core import Term
from oacp_storage_engine import Hint

_EXACT = 2**53  # beyond it, equal numbers may have different decimal texts

_PROJECTED = (
    " AND (oacp.projection(i.body) @> ${n}::jsonb"
    """ OR oacp.projection(i.body) @> '{{"$unprojectable": true}}')"""
)


def conditions(hint: Hint | None, first: int, *, indexed: bool) -> tuple[str, list[Any]]:
    """SQL conditions over interactions ``i`` and their arguments, numbered from ``first``."""
    text = ""
    arguments: list[Any] = []
    if hint is None:
        return text, arguments
    for bound, operator in ((hint.since_us, ">="), (hint.until_us, "<")):
        if bound is not None:
            text += f" AND i.at_us {operator} ${first + len(arguments)}"
            arguments.append(bound)
    for term in hint.terms if indexed else ():
        contained = _containment(term)
        if contained is not None:
            text += _PROJECTED.format(n=first + len(arguments))
            arguments.append(json.dumps(contained))
    return text, arguments


def _containment(term: Term) -> Any:
    """The jsonb that every match contains, or None when there is none to be sure of."""
    if term.operator != "$eq" or not _safe(term.value):
        return None
    # A segment of digits may be an index or a key, and NUL cannot be said in jsonb.
    if any(segment.isdigit() or "\0" in segment for segment in term.path):
        return None
    contained: Any = term.value
    for segment in reversed(term.path):
        contained = {segment: contained}
    return contained


def _safe(value: Any) -> bool:
    if isinstance(value, dict):
        return all("\0" not in key and _safe(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_safe, value))
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, bool) or value is None:
        return True
    return isinstance(value, int | float) and abs(value) < _EXACT
