"""``coerce=True``: turns what is usually meant into JSON, explicitly, before the strict rules apply.

===========================================  =======================================
given                                        stored
===========================================  =======================================
tuple                                        list
set, frozenset                               list (sorted where its values allow it)
datetime, date, time                         ISO 8601 text
UUID                                         its text
Enum member                                  its value
NaN, infinity                                null
lone surrogate in text or key                U+FFFD
subclass of dict, list, str, int, float      the plain value
===========================================  =======================================

Everything else is left as it is, so that the strict rules refuse it: bytes, keys that are not str, objects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time
from enum import Enum
from typing import Any
from uuid import UUID

from oacp_storage_core.payload import MAX_DEPTH


def coerce_payload(payload: object) -> object:
    """A new object in which the usual non-JSON values are replaced; the given one is not changed."""
    return _coerce(payload, 0)


def _coerce(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:  # also ends objects that contain themselves: the strict rules refuse the rest
        return value
    if isinstance(value, Enum):
        return _coerce(value.value, depth)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        coerced = {_text(k) if isinstance(k, str) else k: _coerce(v, depth + 1) for k, v in value.items()}
        return coerced if len(coerced) == len(value) else value  # two keys became one: refuse, lose nothing
    if isinstance(value, list | tuple):
        return [_coerce(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return [_coerce(item, depth + 1) for item in _sorted(value)]
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value


def _text(value: str) -> str:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _sorted(values: set[Any] | frozenset[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)
