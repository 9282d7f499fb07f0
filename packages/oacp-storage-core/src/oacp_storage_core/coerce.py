"""``coerce=True``: turns what is usually meant into JSON, explicitly, before the strict rules apply.

===========================================  =======================================
given                                        stored
===========================================  =======================================
tuple                                        list
set, frozenset                               list, sorted
datetime, date, time                         ISO 8601 text
UUID                                         its text
Enum member                                  its value
NaN, infinity                                null
lone surrogate in text or key                U+FFFD
subclass of list, str, int, float            the plain value
any other mapping                            dict
===========================================  =======================================

Everything else is left as it is, so that the strict rules refuse it: bytes, keys that are not str, objects,
and a mapping of which two keys would become one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time
from enum import Enum
from typing import Any
from uuid import UUID

from oacp_storage_core.errors import InvalidPayloadError
from oacp_storage_core.payload import MAX_DEPTH, on_fresh_stack
from oacp_storage_core.payload_fault import TOO_DEEP, Place, show_place


def coerce_payload(payload: object, *, at: str = "$") -> object:
    """A new object in which the usual non-JSON values are replaced; the given one is not changed.

    ``at`` is the place of the payload in messages. Raises ``InvalidPayloadError`` for what contains itself.
    """
    root: Place = (None, at)
    try:
        return _coerce(payload, root, 1)
    except RecursionError:
        return on_fresh_stack(lambda: _coerce(payload, root, 1))


def _coerce(value: Any, place: Place, depth: int) -> Any:
    if isinstance(value, Enum):
        return _coerce(value.value, place, depth)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if depth > MAX_DEPTH:
            raise InvalidPayloadError(f"{show_place(place)}: {TOO_DEEP}")
        if isinstance(value, Mapping):
            return _coerce_mapping(value, place, depth)
        items = [_coerce(item, (place, i), depth + 1) for i, item in enumerate(value)]
        return _sorted(items) if isinstance(value, set | frozenset) else items
    return value


def _coerce_mapping(value: Mapping[Any, Any], place: Place, depth: int) -> Mapping[Any, Any]:
    coerced = {
        _text(key) if isinstance(key, str) else key: _coerce(child, (place, key), depth + 1)
        for key, child in value.items()
    }
    return coerced if len(coerced) == len(value) else value  # two keys became one: refuse, lose nothing


def _text(value: str) -> str:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _sorted(items: list[Any]) -> list[Any]:
    """In an order that is the same in every process, or the same set would be another payload there."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))
