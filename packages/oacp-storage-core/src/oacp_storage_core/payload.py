"""Payload rules: what may be stored, proven to read back equal before it is stored.

A payload is a JSON object. It is encoded once; the encoding is decoded again, and both are compared with
their types, key order and signs of zero (``marshal`` writes exact built-in types only and keeps all of
that, so comparing its output is the whole check, done in C). Whatever an encoder would silently convert
(NaN, tuples, datetimes, integer keys ...) therefore differs and is refused. Only then does slow Python
code look for the place to name in the error.

The canonical encoding, which is what stores keep: UTF-8, no white space, keys in the caller's order.
"""

from __future__ import annotations

import marshal
import re
from typing import Any

import msgspec

from oacp_storage_core.errors import InvalidPayloadError, PayloadTooLargeError

MAX_DEPTH = 96
MAX_PAYLOAD_BYTES = 15 * 1024 * 1024
MAX_INT_DIGITS = 4300
MAX_CALL_BYTES = 32 * 1024 * 1024
MAX_CALL_INTERACTIONS = 20_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_marshal = marshal.dumps
_MARSHAL_VERSION = 2  # the last without references, which depend on object identity
_LONG_INT = re.compile(rb"[0-9]{%d}" % (MAX_INT_DIGITS + 1))


def encode(payload: object, *, at: str = "$") -> tuple[bytes, dict[str, Any]]:
    """The canonical bytes of a payload, and a fresh copy of it decoded from them.

    ``at`` is the place of the payload in messages. Raises ``InvalidPayloadError``, naming the place of
    what cannot be stored exactly, or ``PayloadTooLargeError``. The caller's object is never changed.
    """
    if type(payload) is not dict:
        raise InvalidPayloadError(f"{at}: {_kind(payload)} is not a JSON object; {_advice_root(payload)}")
    try:
        body: bytes = _encode(payload)
        copy: dict[str, Any] = _decode(body)
        exact = _marshal(payload, _MARSHAL_VERSION) == _marshal(copy, _MARSHAL_VERSION)
    except (ValueError, TypeError, RecursionError, OverflowError, msgspec.MsgspecError) as exc:
        raise InvalidPayloadError(_find_fault(payload, at) or f"{at}: cannot be encoded as JSON ({exc})") from exc
    if not exact:
        raise InvalidPayloadError(_find_fault(payload, at) or f"{at}: does not read back from JSON as it is")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth_exceeded(payload):
        raise InvalidPayloadError(_find_fault(payload, at) or f"{at}: nested deeper than {MAX_DEPTH}")
    if len(body) > MAX_INT_DIGITS:
        if _LONG_INT.search(body) and (fault := _find_fault(payload, at)):
            raise InvalidPayloadError(fault)
        if len(body) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"{at}: {len(body):,} bytes of JSON; at most {MAX_PAYLOAD_BYTES:,} are allowed: store large "
                "content elsewhere and keep a reference to it"
            )
    return body, copy


def decode(body: bytes | str | memoryview) -> dict[str, Any]:
    """The payload of canonical bytes that a store kept. Raises ``ValueError`` when it is not a JSON object."""
    payload = _decode(body)
    if type(payload) is not dict:
        raise ValueError(f"not a JSON object but {_kind(payload)}")
    return payload


def same_payload(one: bytes, other: bytes) -> bool:
    """Whether two encodings hold the same payload: equal after decoding, types and key order included."""
    if one == other:
        return True
    try:
        return _marshal(_decode(one), _MARSHAL_VERSION) == _marshal(_decode(other), _MARSHAL_VERSION)
    except (ValueError, msgspec.MsgspecError):
        return False


def _depth_exceeded(payload: object) -> bool:
    level = [payload]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)  # type: ignore[attr-defined]
            if type(child) is dict or type(child) is list
        ]
    return True


def _find_fault(payload: object, at: str) -> str | None:
    """The first place (in document order) that breaks a rule, as a message; None when there is none."""
    stack: list[tuple[object, str, int]] = [(payload, at, 1)]
    while stack:
        value, place, depth = stack.pop()
        kind = type(value)
        if kind is dict or kind is list:
            if depth > MAX_DEPTH:
                return f"{_cut(place)}: nested deeper than {MAX_DEPTH} levels (or contains itself)"
            children: list[tuple[object, str, int]] = []
            if isinstance(value, dict):
                for key, child in value.items():
                    if fault := _key_fault(key, place):
                        return fault
                    children.append((child, place + _step(key), depth + 1))
            elif isinstance(value, list):
                children = [(child, f"{place}[{i}]", depth + 1) for i, child in enumerate(value)]
            stack.extend(reversed(children))
        elif fault := _scalar_fault(value):
            return f"{_cut(place)}: {fault}"
    return None


def _key_fault(key: object, place: str) -> str | None:
    if type(key) is not str:
        return f"{_cut(place)}: the key {key!r:.40} is {_kind(key)}; keys must be str, use str(key)"
    if fault := _scalar_fault(key):
        return f"{_cut(place)}: the key {ascii(key):.40} {fault.removeprefix('the text ')}"
    return None


def _scalar_fault(value: object) -> str | None:
    kind = type(value)
    if value is None or kind is bool:
        return None
    if kind is str:
        try:
            str(value).encode()
        except UnicodeEncodeError as exc:
            return f"the text has a lone surrogate at index {exc.start}; use coerce=True or text.encode(errors='replace')"
        return None
    if isinstance(value, int) and kind is int:
        # 10 has 3.32 bits a digit: most integers are settled without computing the power.
        if value.bit_length() > 14_000 and abs(value) >= 10**MAX_INT_DIGITS:
            return f"an integer of more than {MAX_INT_DIGITS:,} digits cannot be read back; store it as text"
        return None
    if isinstance(value, float) and kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            return f"{value} is not JSON; use None or text"
        return None
    return f"{_kind(value)} is not JSON; {_advice(value)}"


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _advice(value: object) -> str:
    if isinstance(value, tuple):
        return "use list(value)"
    if isinstance(value, set | frozenset):
        return "use sorted(value)"
    if isinstance(value, bytes | bytearray | memoryview):
        return "use base64 text"
    if hasattr(value, "isoformat"):
        return "use .isoformat()"
    for base in (str, int, float, dict, list):
        if isinstance(value, base):
            return f"it is a subclass that would not come back; use {base.__name__}(value)"
    return "use plain dict, list, str, int, float, bool or None"


def _advice_root(value: object) -> str:
    return "use dict(value)" if hasattr(value, "keys") else "wrap it in a dict"


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{ascii(key)}]"


def _cut(place: str) -> str:
    return place if len(place) <= 200 else f"{place[:120]}...{place[-60:]}"
