"""Payload rules: what may be stored, proven to read back equal before it is stored.

A payload is a JSON object. One that is made of JSON's own types, and nothing derived from them, is encoded at once:
the encoder keeps those exactly. Any other is encoded, decoded again, and both are compared with their types, key
order and signs of zero (``marshal`` writes exact built-in types only and keeps all of that). Whatever an encoder
would silently convert (NaN, tuples, datetimes, integer keys ...) therefore differs and is refused, and only then
does slow Python code look for the place to name in the error (``payload_fault.py``).

The canonical encoding, which is what stores keep: UTF-8, no white space, keys in the caller's order.
"""

from __future__ import annotations

import marshal
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from oacp_storage_core.errors import InvalidPayloadError, PayloadTooLargeError

MAX_DEPTH = 96
MAX_PAYLOAD_BYTES = 15 * 1024 * 1024
MAX_INT_DIGITS = 4300
MAX_CALL_BYTES = 32 * 1024 * 1024
MAX_CALL_INTERACTIONS = 20_000

_encode = msgspec.json.Encoder().encode
_decode_fast = msgspec.json.Decoder().decode
_marshal = marshal.dumps
_MARSHAL_VERSION = 2  # the last without references, which depend on object identity
# Tried only where a run of digits begins; at every digit of a long run it would take quadratic time.
_LONG_INT = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_INT_DIGITS + 1))

_T = TypeVar("_T")


def encode_body(payload: object, *, at: str = "$") -> bytes:
    """The canonical bytes of a payload.

    ``at`` is the place of the payload in messages. Raises ``InvalidPayloadError``, naming the place of
    what cannot be stored exactly, or ``PayloadTooLargeError``. The caller's object is never changed.
    """
    body = encode_plain(payload)
    if body is not None:
        return body
    if type(payload) is not dict:
        raise InvalidPayloadError(_not_an_object(payload, at))
    return encode_value(payload, at=at)[0]


def encode(payload: object, *, at: str = "$") -> tuple[bytes, dict[str, Any]]:
    """As ``encode_body``, with a fresh copy of the payload decoded from the bytes."""
    body = encode_body(payload, at=at)
    return body, decode(body)


def encode_value(value: Any, *, at: str = "$") -> tuple[bytes, Any]:
    """The canonical bytes of any JSON value and a fresh copy; the thorough way, otherwise as ``encode_body``."""
    try:
        return _encode_exactly(value, at)
    except RecursionError:
        return on_fresh_stack(lambda: _encode_exactly(value, at))


def decode(body: bytes | str | memoryview) -> dict[str, Any]:
    """The payload of canonical bytes that a store kept; ``ValueError`` when they are no JSON object."""
    try:
        payload = _decode_fast(body)
    except msgspec.DecodeError:
        payload = _decode(body)
    except RecursionError:
        payload = on_fresh_stack(lambda: _decode(body))
    if type(payload) is not dict:
        raise ValueError(f"not a JSON object but {type(payload).__name__}")
    return payload


def same_payload(one: bytes, other: bytes) -> bool:
    """Whether two encodings hold the same payload: equal after decoding, types and key order included."""
    if one == other:
        return True
    try:
        return _marshal(decode(one), _MARSHAL_VERSION) == _marshal(decode(other), _MARSHAL_VERSION)
    except ValueError:
        return False


def on_fresh_stack(function: Callable[[], _T]) -> _T:
    """Call it in a thread of its own: a caller deep in recursion may have no 96 levels of stack left."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


def encode_plain(payload: object) -> bytes | None:
    """The bytes of a payload that surely keeps all rules, None for one that ``encode_body`` has to look at."""
    try:
        if type(payload) is not dict or not _is_plain(payload, MAX_DEPTH):
            return None
        body: bytes = _encode(payload)
    except (ValueError, TypeError, RuntimeError, msgspec.MsgspecError):
        # A lone surrogate, too many digits, too little stack: the thorough way names it.
        return None
    size = len(body)
    if size > MAX_INT_DIGITS and (size > MAX_PAYLOAD_BYTES or sys.get_int_max_str_digits() != MAX_INT_DIGITS):
        return None
    return body


def _is_plain(container: Any, levels: int) -> bool:
    """Whether a dict or list holds nothing but JSON's own types, nested no deeper than ``levels``."""
    if not levels:
        return False
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                return False
        container = container.values()
    for value in container:
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None:
            continue
        if kind is float:
            if value - value != 0.0:  # infinite, or not a number
                return False
        elif not ((kind is dict or kind is list) and _is_plain(value, levels - 1)):
            return False
    return True


def _encode_exactly(value: Any, at: str) -> tuple[bytes, Any]:
    try:
        body: bytes = _encode(value)
        copy = _decode(body)
        exact = _marshal(value, _MARSHAL_VERSION) == _marshal(copy, _MARSHAL_VERSION)
    except Exception as exc:  # encoders run code of the objects they meet, which may raise anything
        if fault := _find_fault(value, at):
            raise InvalidPayloadError(fault) from exc
        raise
    if not exact:
        raise InvalidPayloadError(
            _find_fault(value, at) or f"{at}: does not read back as it is; was it changed during the call?"
        )
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_too_deep(value):
        raise InvalidPayloadError(_find_fault(value, at))
    if len(body) > MAX_INT_DIGITS:
        # An interpreter that was set to allow longer integers encodes what others could not read.
        longer = sys.get_int_max_str_digits() != MAX_INT_DIGITS and _LONG_INT.search(body)
        if longer and (fault := _find_fault(value, at)):
            raise InvalidPayloadError(fault)
        if len(body) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLargeError(
                f"{at}: {len(body):,} bytes of JSON; at most {MAX_PAYLOAD_BYTES:,} are allowed: store large "
                "content elsewhere and keep a reference to it"
            )
    return body, copy


def _decode(body: bytes | str | memoryview) -> Any:
    try:
        return _decode_fast(body)
    except msgspec.ValidationError:
        # It counts the sign of a negative integer as one of its 4,300 digits; the standard library does not.
        import json

        return json.loads(body if isinstance(body, str) else str(body, "utf-8"))
    except msgspec.DecodeError as exc:  # a ValueError in later versions only
        raise ValueError(str(exc)) from exc


def _find_fault(value: object, at: str) -> str | None:
    from oacp_storage_core.payload_fault import find_fault

    return find_fault(value, at)


def _is_too_deep(value: object) -> bool:
    """Whether containers are nested deeper than allowed; it looks level by level, which is fast."""
    level = [value]
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


def _not_an_object(payload: object, at: str) -> str:
    kind = "None" if payload is None else type(payload).__name__
    advice = "use dict(value)" if hasattr(type(payload), "keys") else "wrap it in a dict"
    return f"{at}: {kind} is not a JSON object; {advice}"
