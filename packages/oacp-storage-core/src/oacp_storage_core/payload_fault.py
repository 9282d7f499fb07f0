"""Naming what is wrong with a payload, and where: slow and thorough, for payloads that were refused.

A place is a linked list of keys and indexes, ``(parent, step)``, which costs nothing until it is shown.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from oacp_storage_core.payload import MAX_DEPTH, MAX_INT_DIGITS

TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels (or contains itself)"

Place = tuple[Any, object]
"""``(None, "$")`` is the whole payload, ``((None, "$"), "meta")`` is what is under its key ``meta``."""


def find_fault(value: object, at: str) -> str | None:
    """The first place (in document order) that breaks a rule, as a message; None when there is none."""
    return _fault_in(value, (None, at), 1)


def show_place(place: Place) -> str:
    """The place as in ``$.meta.items[3]['a b']``, cut in the middle where it is long."""
    steps = []
    while place[0] is not None:
        steps.append(_show_step(place[1]))
        place = place[0]
    text = f"{place[1]}{''.join(reversed(steps))}"
    return text if len(text) <= 200 else f"{text[:120]}...{text[-60:]}"


def _fault_in(value: object, place: Place, depth: int) -> str | None:
    entries: Iterable[tuple[object, object]]
    if type(value) is dict:
        entries = value.items()
    elif type(value) is list:
        entries = enumerate(value)
    else:
        fault = _scalar_fault(value)
        return fault and f"{show_place(place)}: {fault}"
    if depth > MAX_DEPTH:
        return f"{show_place(place)}: {TOO_DEEP}"
    for step, child in entries:
        if type(value) is dict and (fault := _key_fault(step)):
            return f"{show_place(place)}: {fault}"
        if fault := _fault_in(child, (place, step), depth + 1):
            return fault
    return None


def _key_fault(key: object) -> str | None:
    if type(key) is not str:
        return f"a key is {_shown_key(key)}; keys must be str: use str(key)"
    at = _surrogate(key)
    return None if at is None else f"the key {_shown_key(key)} has {_surrogate_advice(at)}"


def _scalar_fault(value: object) -> str | None:
    if value is None or type(value) is bool:
        return None
    if type(value) is str:
        at = _surrogate(value)
        return None if at is None else f"the text has {_surrogate_advice(at)}"
    if type(value) is int:
        return _int_fault(value)
    if type(value) is float:
        return None if math.isfinite(value) else f"{value} is not JSON; use None or text"
    return f"{type(value).__name__} is not JSON; {_advice(value)}"


def _surrogate(text: str) -> int | None:
    """The index of the first lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        return exc.start
    return None


def _surrogate_advice(index: int) -> str:
    return f"a lone surrogate at index {index}; use coerce=True or text.encode(errors='replace').decode()"


def _int_fault(value: int) -> str | None:
    # 10 has 3.32 bits a digit, so most integers are settled without computing the power.
    if value.bit_length() > 14_000 and abs(value) >= 10**MAX_INT_DIGITS:
        return f"an integer of more than {MAX_INT_DIGITS:,} digits cannot be read back; use str(value)"
    allowed = sys.get_int_max_str_digits()
    if 0 < allowed < MAX_INT_DIGITS and value.bit_length() > 3 * allowed and abs(value) >= 10**allowed:
        return f"an integer of more than {allowed:,} digits, which sys.set_int_max_str_digits() forbids here"
    return None


def _advice(value: object) -> str:
    kind = type(value)
    if isinstance(value, Enum):
        return "use its .value"
    if isinstance(value, tuple):
        return "use list(value)"
    if isinstance(value, set | frozenset):
        return "use sorted(value)"
    if isinstance(value, bytes | bytearray | memoryview):
        return "use base64 text"
    if isinstance(value, date | time):
        return "use .isoformat()"
    if isinstance(value, UUID | Decimal):
        return "use str(value)"
    for base in (str, int, float, dict, list):
        if isinstance(value, base):
            return f"it is a subclass that would not come back: use {base.__name__}(value)"
    if dataclasses.is_dataclass(kind) and not isinstance(value, type):
        return "use dataclasses.asdict(value)"
    if hasattr(kind, "keys"):
        return "use dict(value)"
    return "use plain dict, list, str, int, float, bool or None"


def _shown_key(key: object) -> str:
    """A key for a message: cut where it is long, and without running code of unknown classes."""
    if type(key) is str:
        text = ascii(key)
    elif type(key) is bool or type(key) is float or (type(key) is int and key.bit_length() < 100):
        text = f"the {type(key).__name__} {key}"
    else:
        text = "None" if key is None else f"of type {type(key).__name__}"
    return text if len(text) <= 40 else f"{text[:36]}...'"


def _show_step(step: object) -> str:
    if isinstance(step, str):
        return f".{step}" if step.isidentifier() else f"[{step!a}]"
    return f"[{step}]" if type(step) is int and step.bit_length() < 100 else f"[{_shown_key(step)}]"
