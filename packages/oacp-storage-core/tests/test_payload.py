"""The payload rules: what is kept exactly, and what is refused with which words."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import math
import sys
import time
import types
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from oacp_storage_core import InvalidPayloadError, PayloadTooLargeError
from oacp_storage_core.payload import (
    MAX_DEPTH,
    MAX_INT_DIGITS,
    MAX_PAYLOAD_BYTES,
    decode,
    encode,
    encode_value,
    same_payload,
)

MIB = 1024 * 1024


def nested(depth: int, leaf: Any = 1, wrap: Callable[[Any], Any] = lambda x: {"a": x}) -> Any:
    """A value with ``depth`` containers within each other."""
    for _ in range(depth):
        leaf = wrap(leaf)
    return leaf


def deep_in_the_stack(frames_left: int, function: Callable[[], Any]) -> Any:
    """Call the function with about that many frames of the stack left."""
    used = len(inspect.stack(0))

    def down(levels: int) -> Any:
        return down(levels - 1) if levels > 0 else function()

    return down(sys.getrecursionlimit() - used - frames_left)


def exactly(one: object, other: object) -> bool:
    """Whether two JSON values are the same in type, key order and sign of zero: slow, plain and independent."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(exactly(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(exactly, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return one == other


# --- what is kept ----------------------------------------------------------------------------------------

KEPT = {
    "nothing": None,
    "true": True,
    "false": False,
    "empty text": "",
    "empty list": [],
    "empty object": {},
    "NUL": "a\0b",
    "NUL in a key": {"\0": 1, "a\0b": 2},
    "empty key": {"": {"": 0}},
    "awkward keys": {
        "a.b": 1,
        "$set": 2,
        "_id": 3,
        "$ref": {"$id": 4},
        " ": 5,
        "/": 6,
        "~": 7,
        "__class__": 8,
    },
    "key order": {"z": 1, "a": 2, "m": 3, "10": 4, "9": 5},
    "keys in two normal forms": {"é": 1, "e\u0301": 2},
    "zero": 0,
    "2^53 and beyond": [2**53 - 1, 2**53, 2**53 + 1],
    "2^63 and beyond": [2**63 - 1, 2**63, -(2**63), -(2**63) - 1],
    "2^64 and beyond": [2**64 - 1, 2**64, 10**30],
    "4,300 digits": 10**MAX_INT_DIGITS - 1,
    "4,300 digits, negative": -(10**MAX_INT_DIGITS - 1),
    "4,299 digits, negative": -(10 ** (MAX_INT_DIGITS - 1) - 1),
    "negative zero": -0.0,
    "zero point zero": 0.0,
    "whole floats": [1.0, -1.0, 1e15, 1e16, 1e17, 123456789012345680.0],
    "greatest float": 1.7976931348623157e308,
    "1e308": 1e308,
    "smallest float": 5e-324,
    "smallest normal float": 2.2250738585072014e-308,
    "repeating fraction": [0.1, 1 / 3, 2 / 3],
    "astral": "\U0001f600 \U00010348 \U0010ffff",
    "non-characters": "\uffff \ufffe \ufdd0",
    "the replacement character": "\ufffd",
    "line separators": "\u2028\u2029\x85",
    "control characters": "".join(map(chr, range(32))) + "\x7f",
    "quotes and backslashes": '"\\" \\u0041 \\n </script>',
    "byte order mark": "\ufefftext",
    "JSON in text": '{"a": [1, NaN]}',
    "true is no number": [True, 1, 1.0, False, 0, 0.0],
    "deep and wide": {"a": [[], [[]], {"b": [{}, {"c": [None]}]}]},
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
def test_keeps_exactly(value: Any) -> None:
    payload = {"value": value, "after": [value]}
    before = copy.deepcopy(payload)
    body, fresh = encode(payload)
    assert exactly(fresh, before)
    assert exactly(decode(body), before)
    assert exactly(payload, before), "the caller's object was changed"


def test_encoding_is_canonical() -> None:
    body, _ = encode({"b": [1, 2.5, None, True], "a": {"é": "\n\U0001f600"}})
    assert body == '{"b":[1,2.5,null,true],"a":{"é":"\\n\U0001f600"}}'.encode()


def test_copy_shares_nothing_with_the_original() -> None:
    payload = {"list": [1, {"x": 1}], "object": {"y": 2}}
    _, fresh = encode(payload)
    fresh["list"][1]["x"] = 99
    fresh["object"]["y"] = 99
    assert payload == {"list": [1, {"x": 1}], "object": {"y": 2}}


def test_one_object_in_two_places_is_written_twice() -> None:
    shared = {"x": [1]}
    body, fresh = encode({"a": shared, "b": shared})
    assert body == b'{"a":{"x":[1]},"b":{"x":[1]}}'
    assert fresh["a"] is not fresh["b"]


# --- what is refused -------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Fraction(float):
    pass


class Rows(list[Any]):
    pass


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Mood(StrEnum):
    GLAD = "glad"


@dataclasses.dataclass
class Message:
    text: str


class BrokenZone(tzinfo):
    """Encoders ask a time for its offset, and so meet whatever this code does."""

    def utcoffset(self, moment: datetime | None) -> NoReturn:
        raise ZeroDivisionError("code of a foreign object")

    dst = tzname = utcoffset


class Record(msgspec.Struct):
    text: str


class Strange:
    def __repr__(self) -> str:
        raise RuntimeError("not even its repr works")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("nor anything else")


class Point(NamedTuple):
    x: int
    y: int


PLAIN = "use plain dict, list, str, int, float, bool or None"

REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (math.nan, "nan is not JSON; use None or text"),
    "infinity": (math.inf, "inf is not JSON; use None or text"),
    "negative infinity": (-math.inf, "-inf is not JSON; use None or text"),
    "lone high surrogate": (
        "ab\ud800",
        "the text has a lone surrogate at index 2; use coerce=True or text.encode(errors='replace').decode()",
    ),
    "lone low surrogate": (
        "\udfffx",
        "the text has a lone surrogate at index 0; use coerce=True or text.encode(errors='replace').decode()",
    ),
    "surrogates in the wrong order": (
        "\udc00\ud800",
        "the text has a lone surrogate at index 0; use coerce=True or text.encode(errors='replace').decode()",
    ),
    "surrogates that are a pair": (  # two code points, where JSON would give one back
        "\ud83d\ude00",
        "the text has a lone surrogate at index 0; use coerce=True or text.encode(errors='replace').decode()",
    ),
    "tuple": ((1, 2), "tuple is not JSON; use list(value)"),
    "empty tuple": ((), "tuple is not JSON; use list(value)"),
    "named tuple": (Point(1, 2), "Point is not JSON; use list(value)"),
    "set": ({1}, "set is not JSON; use sorted(value)"),
    "frozenset": (frozenset(), "frozenset is not JSON; use sorted(value)"),
    "bytes": (b"x", "bytes is not JSON; use base64 text"),
    "bytearray": (bytearray(b"x"), "bytearray is not JSON; use base64 text"),
    "memoryview": (memoryview(b"x"), "memoryview is not JSON; use base64 text"),
    "datetime": (datetime(2026, 1, 1, tzinfo=UTC), "datetime is not JSON; use .isoformat()"),
    "naive datetime": (datetime(2026, 1, 1), "datetime is not JSON; use .isoformat()"),  # noqa: DTZ001
    "date": (date(2026, 1, 1), "date is not JSON; use .isoformat()"),
    "UUID": (UUID(int=1), "UUID is not JSON; use str(value)"),
    "Decimal": (Decimal("1.0"), "Decimal is not JSON; use str(value)"),
    "complex": (1j, f"complex is not JSON; {PLAIN}"),
    "range": (range(3), f"range is not JSON; {PLAIN}"),
    "generator": ((x for x in "ab"), f"generator is not JSON; {PLAIN}"),
    "ellipsis": (..., f"ellipsis is not JSON; {PLAIN}"),
    "function": (len, f"builtin_function_or_method is not JSON; {PLAIN}"),
    "class": (int, f"type is not JSON; {PLAIN}"),
    "object": (object(), f"object is not JSON; {PLAIN}"),
    "Enum": (Colour.RED, "Colour is not JSON; use its .value"),
    "IntEnum": (Level.HIGH, "Level is not JSON; use its .value"),
    "StrEnum": (Mood.GLAD, "Mood is not JSON; use its .value"),
    "str subclass": (
        Text("x"),
        "Text is not JSON; it is a subclass that would not come back: use str(value)",
    ),
    "int subclass": (
        Number(1),
        "Number is not JSON; it is a subclass that would not come back: use int(value)",
    ),
    "float subclass": (
        Fraction(1.5),
        "Fraction is not JSON; it is a subclass that would not come back: use float(value)",
    ),
    "list subclass": (
        Rows([1]),
        "Rows is not JSON; it is a subclass that would not come back: use list(value)",
    ),
    "dict subclass": (
        OrderedDict(a=1),
        "OrderedDict is not JSON; it is a subclass that would not come back: use dict(value)",
    ),
    "UserDict": (UserDict(a=1), "UserDict is not JSON; use dict(value)"),
    "mapping proxy": (types.MappingProxyType({"a": 1}), "mappingproxy is not JSON; use dict(value)"),
    "dataclass": (Message("x"), "Message is not JSON; use dataclasses.asdict(value)"),
    "datetime whose zone raises": (
        datetime(2026, 1, 1, tzinfo=BrokenZone()),
        "datetime is not JSON; use .isoformat()",
    ),
    "msgspec.Struct": (Record("x"), f"Record is not JSON; {PLAIN}"),
    "msgspec.Raw": (msgspec.Raw(b"1"), f"Raw is not JSON; {PLAIN}"),
    "msgspec.UNSET": (msgspec.UNSET, f"UnsetType is not JSON; {PLAIN}"),
    "an object that resists": (Strange(), f"Strange is not JSON; {PLAIN}"),
    "4,301 digits": (
        10**MAX_INT_DIGITS,
        "an integer of more than 4,300 digits cannot be read back; use str(value)",
    ),
    "4,301 digits, negative": (
        -(10**MAX_INT_DIGITS),
        "an integer of more than 4,300 digits cannot be read back; use str(value)",
    ),
    "a million digits": (
        1 << 3_400_000,
        "an integer of more than 4,300 digits cannot be read back; use str(value)",
    ),
    "int key": ({1: "x"}, "a key is the int 1; keys must be str: use str(key)"),
    "bool key": ({True: "x"}, "a key is the bool True; keys must be str: use str(key)"),
    "float key": ({1.5: "x"}, "a key is the float 1.5; keys must be str: use str(key)"),
    "None key": ({None: "x"}, "a key is None; keys must be str: use str(key)"),
    "bytes key": ({b"x": 1}, "a key is of type bytes; keys must be str: use str(key)"),
    "tuple key": ({(1, 2): 1}, "a key is of type tuple; keys must be str: use str(key)"),
    "UUID key": ({UUID(int=1): 1}, "a key is of type UUID; keys must be str: use str(key)"),
    "Enum key": ({Mood.GLAD: 1}, "a key is of type Mood; keys must be str: use str(key)"),
    "str subclass as key": ({Text("x"): 1}, "a key is of type Text; keys must be str: use str(key)"),
    "huge int key": ({10**5000: 1}, "a key is of type int; keys must be str: use str(key)"),
    "a key that resists": ({Strange(): 1}, "a key is of type Strange; keys must be str: use str(key)"),
    "int key beside its text": ({1: "a", "1": "b"}, "a key is the int 1; keys must be str: use str(key)"),
    "lone surrogate in a key": (
        {"\ud800": 1},
        (
            "the key '\\ud800' has a lone surrogate at index 0; use coerce=True or "
            "text.encode(errors='replace').decode()"
        ),
    ),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_and_says_what_and_where(value: Any, message: str) -> None:
    payload = {"fine": [None, True, 1.5, "x", 1], "meta": {"a b": [0, {"when": value}]}}
    with pytest.raises(InvalidPayloadError) as caught:
        encode(payload)
    assert str(caught.value) == f"$.meta['a b'][1].when: {message}"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (None, "$: None is not a JSON object; wrap it in a dict"),
        ([], "$: list is not a JSON object; wrap it in a dict"),
        ("x", "$: str is not a JSON object; wrap it in a dict"),
        (b"{}", "$: bytes is not a JSON object; wrap it in a dict"),
        (Message("x"), "$: Message is not a JSON object; wrap it in a dict"),
        (OrderedDict(a=1), "$: OrderedDict is not a JSON object; use dict(value)"),
        (UserDict(a=1), "$: UserDict is not a JSON object; use dict(value)"),
        (Strange(), "$: Strange is not a JSON object; wrap it in a dict"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_whole_must_be_a_dict(payload: Any, message: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        encode(payload)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"a": {"b": [1, [2, b""]]}}, "$.a.b[1][1]"),
        ({"a.b": b""}, "$['a.b']"),
        ({"": b""}, "$['']"),
        ({"straße": b""}, "$.straße"),
        ({"it's": b""}, '$["it\'s"]'),
        ({"\0\n": b""}, "$['\\x00\\n']"),
        ({"first": b"", "second": ()}, "$.first"),
        ({"0": b""}, "$['0']"),
    ],
)
def test_places_are_exact(payload: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        encode(payload)
    assert str(caught.value).startswith(f"{place}: bytes is not JSON")


def test_the_first_fault_in_document_order_is_named() -> None:
    payload: dict[Any, Any] = {"a": [1, {"b": math.nan, 3: ()}], "d": (), 4: 5}
    mends: list[Callable[[], object]] = [
        lambda: payload["a"][1].pop("b"),
        lambda: payload["a"][1].pop(3),
        lambda: payload.pop("d"),
        lambda: payload.pop(4),
    ]
    places = []
    for mend in mends:
        with pytest.raises(InvalidPayloadError) as caught:
            encode(payload)
        places.append(str(caught.value).partition(":")[0])
        mend()
    assert places == ["$.a[1].b", "$.a[1]", "$.d", "$"]
    encode(payload)


def test_place_of_the_whole_can_be_given() -> None:
    with pytest.raises(InvalidPayloadError, match=r"^\$\[17\]\.x: tuple"):
        encode({"x": ()}, at="$[17]")


def test_long_places_are_cut() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        encode({"k" * 10_000: {"end": ()}})
    assert len(str(caught.value)) < 300
    assert str(caught.value).startswith("$.kkk")
    assert "kkk.end: tuple" in str(caught.value)


def test_long_keys_are_cut() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        encode({"k" * 10_000 + "\ud800": 1})
    assert len(str(caught.value)) < 200


def test_the_cause_is_kept() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        encode({"x": datetime(2026, 1, 1, tzinfo=BrokenZone())})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_is_not_the_payloads_fault_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("oacp_storage_core.payload._encode", no_memory)
    with pytest.raises(MemoryError):
        encode({"x": 1})


# --- integers where the interpreter is set otherwise -----------------------------------------------------


@pytest.fixture
def digit_limit() -> Iterator[Callable[[int], None]]:
    before = sys.get_int_max_str_digits()
    yield sys.set_int_max_str_digits
    sys.set_int_max_str_digits(before)


def test_longer_integers_are_refused_where_the_interpreter_allows_them(
    digit_limit: Callable[[int], None],
) -> None:
    digit_limit(0)
    encode({"x": 10**MAX_INT_DIGITS - 1, "text": "7" * 10_000})
    with pytest.raises(
        InvalidPayloadError, match=r"^\$\.x: an integer of more than 4,300 digits cannot be read"
    ):
        encode({"x": 10**MAX_INT_DIGITS})


def test_integers_that_the_interpreter_forbids_are_named(digit_limit: Callable[[int], None]) -> None:
    digit_limit(640)
    encode({"x": 10**640 - 1})
    with pytest.raises(InvalidPayloadError) as caught:
        encode({"x": [10**640]})
    assert str(caught.value) == (
        "$.x[0]: an integer of more than 640 digits, which sys.set_int_max_str_digits() forbids here"
    )


def test_looking_for_long_integers_is_linear(digit_limit: Callable[[int], None]) -> None:
    digit_limit(5000)
    text = ("1" * MAX_INT_DIGITS + ".") * 2000  # 8.6 MB; trying at every digit takes a minute
    start = time.perf_counter()
    encode({"x": text})
    assert time.perf_counter() - start < 10


# --- depth and size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda x: {"a": x}, lambda x: [x]], ids=["objects", "arrays"])
def test_96_levels_are_kept(wrap: Callable[[Any], Any]) -> None:
    payload = {"a": nested(MAX_DEPTH - 1, wrap=wrap), "b": [[], {}]}
    body, fresh = encode(payload)
    assert exactly(fresh, payload)
    assert exactly(decode(body), payload)


@pytest.mark.parametrize("wrap", [lambda x: {"a": x}, lambda x: [x]], ids=["objects", "arrays"])
@pytest.mark.parametrize("depth", [97, 98, 500, 990, 1500, 3000, 100_000])
def test_97_levels_are_refused(depth: int, wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(
        InvalidPayloadError, match=r"^\$\.b.*: nested deeper than 96 levels \(or contains itself\)$"
    ):
        encode({"a": [1, "}{"], "b": nested(depth - 1, wrap=wrap)})


def test_empty_containers_count_as_levels() -> None:
    encode({"a": nested(MAX_DEPTH - 2, {})})
    with pytest.raises(InvalidPayloadError, match="nested deeper"):
        encode({"a": nested(MAX_DEPTH - 1, {})})


def test_many_containers_are_not_depth() -> None:
    payload = {"rows": [{"x": [i]} for i in range(5000)], "code": "{" * 1000 + "[" * 1000}
    assert exactly(encode(payload)[1], payload)


def test_what_contains_itself_is_refused() -> None:
    rows: list[Any] = [1]
    rows.append(rows)
    with pytest.raises(InvalidPayloadError, match=r"^\$\.rows\[1\]\[1\].*contains itself"):
        encode({"rows": rows})
    payload: dict[str, Any] = {}
    payload["me"] = payload
    with pytest.raises(InvalidPayloadError, match=r"^\$\.me\.me.*contains itself"):
        encode(payload)
    wide: list[Any] = []
    wide.extend([wide] * 10)  # ten ways down at each level: whoever tries all never ends
    with pytest.raises(InvalidPayloadError, match="contains itself"):
        encode({"wide": wide})


@pytest.mark.parametrize("frames_left", [400, 150, 100, 60])
def test_96_levels_are_kept_deep_in_the_stack(frames_left: int) -> None:
    payload = nested(MAX_DEPTH)
    body, fresh = deep_in_the_stack(frames_left, lambda: encode(payload))
    assert exactly(fresh, payload)
    assert exactly(deep_in_the_stack(frames_left, lambda: decode(body)), payload)
    reordered = json.dumps(payload).encode()
    assert deep_in_the_stack(frames_left, lambda: same_payload(body, reordered))


@pytest.mark.parametrize("frames_left", [400, 150, 100, 60])
def test_faults_are_named_deep_in_the_stack(frames_left: int) -> None:
    def refuse(payload: dict[str, Any]) -> str:
        with pytest.raises(InvalidPayloadError) as caught:
            deep_in_the_stack(frames_left, lambda: encode(payload))
        return str(caught.value)

    assert refuse(nested(MAX_DEPTH, ())).endswith(".a.a: tuple is not JSON; use list(value)")
    assert refuse(nested(MAX_DEPTH + 1)).endswith("nested deeper than 96 levels (or contains itself)")


def test_15_mib_are_kept_and_a_byte_more_is_refused() -> None:
    room = MAX_PAYLOAD_BYTES - len('{"x":""}')
    body, _ = encode({"x": "a" * room})
    assert len(body) == MAX_PAYLOAD_BYTES == 15 * MIB
    with pytest.raises(PayloadTooLargeError) as caught:
        encode({"x": "a" * (room + 1)})
    assert str(caught.value) == (
        "$: 15,728,641 bytes of JSON; at most 15,728,640 are allowed: store large content elsewhere and keep a "
        "reference to it"
    )
    assert isinstance(caught.value, InvalidPayloadError)


def test_size_is_that_of_the_encoding() -> None:
    with pytest.raises(PayloadTooLargeError):
        encode({"x": "\U0001f600" * (4 * MIB)})  # 4 bytes each
    with pytest.raises(PayloadTooLargeError):
        encode({"x": "\0" * (3 * MIB)})  # \u0000 each


# --- out again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "as_kind", [bytes, memoryview, lambda body: body.decode()], ids=["bytes", "view", "text"]
)
@pytest.mark.parametrize("value", [1, -(10**MAX_INT_DIGITS - 1)], ids=["small", "4,300 digits"])
def test_decodes_what_drivers_return(as_kind: Callable[[bytes], Any], value: int) -> None:
    body, _ = encode({"x": ["é", value]})
    assert decode(as_kind(body)) == {"x": ["é", value]}


@pytest.mark.parametrize("body", [b"[1]", b"null", b'"text"', b"17"])
def test_decoding_something_else_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON object but"):
        decode(body)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":1}x', b'{"a":\xff}', b'{"a":"\xff"}', b"{'a':1}", b'{"a":NaN}']
)
def test_decoding_damage_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the decoder's own
        decode(body)


def test_same_payload() -> None:
    assert same_payload(b'{"a":1,"b":[1.5]}', b'{ "a": 1, "b": [1.50] }')
    assert same_payload(b'{"a":"\\u00e9"}', '{"a":"é"}'.encode())
    assert not same_payload(b'{"a":1,"b":2}', b'{"b":2,"a":1}'), "key order"
    assert not same_payload(b'{"a":1}', b'{"a":1.0}'), "type"
    assert not same_payload(b'{"a":1}', b'{"a":true}'), "type"
    assert not same_payload(b'{"a":0.0}', b'{"a":-0.0}'), "sign of zero"
    assert not same_payload(b'{"a":1}', b'{"a":1'), "damage is never the same"
    assert not same_payload(b'{"a":1}', b"[1]")


def test_encode_value_takes_any_json_value() -> None:
    values: list[Any] = [None, True, 1, -0.0, "x", [], [1, {"a": None}], {}]
    for value in values:
        body, fresh = encode_value(value)
        assert exactly(fresh, value)
        assert exactly(json.loads(body), value)
    with pytest.raises(InvalidPayloadError, match=r"^here: tuple is not JSON"):
        encode_value((1,), at="here")


# --- anything at all -------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(
    st.integers(),
    st.integers(min_value=2**62, max_value=2**66),
    st.integers(min_value=0, max_value=MAX_INT_DIGITS - 1).map(lambda digits: -(10**digits)),
    st.floats(allow_nan=False, allow_infinity=False),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4))


json_values = st.recursive(scalars, containers, max_leaves=20)
payloads = st.dictionaries(texts, json_values, max_size=6)

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(payloads)
def test_every_json_object_is_kept_exactly(payload: dict[str, Any]) -> None:
    before = copy.deepcopy(payload)
    body, fresh = encode(payload)
    assert exactly(payload, before)
    assert exactly(fresh, before)
    assert exactly(decode(body), before)
    assert exactly(json.loads(body), before), "another decoder reads something else"
    assert encode(decode(body))[0] == body, "the encoding is not canonical"
    assert encode_value(payload)[0] == body, "the quick way and the thorough one differ"


json_like = st.one_of(
    scalars,
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.binary(max_size=3),
    st.datetimes(),
    st.uuids(),
    st.decimals(),
    st.sampled_from(
        [Colour.RED, Level.HIGH, Mood.GLAD, Text("x"), Number(1), Fraction(1.5), msgspec.UNSET, ..., int]
    ),
    st.builds(Message, texts),
    st.builds(Record, texts),
)
json_like_keys = st.one_of(
    texts, st.text(max_size=3), st.integers(), st.none(), st.booleans(), st.binary(max_size=2), st.uuids()
)


def json_like_containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(Rows),
        st.dictionaries(json_like_keys, inner, max_size=3),
        st.dictionaries(texts, inner, max_size=3).map(OrderedDict),
        st.dictionaries(texts, inner, max_size=3).map(UserDict),
        st.frozensets(st.integers(), max_size=2),
    )


@thorough
@given(
    st.dictionaries(json_like_keys, st.recursive(json_like, json_like_containers, max_leaves=8), max_size=4)
)
@example({1: "a", "1": "a"})
@example({"x": [{}, {"": ()}]})
def test_whatever_is_like_json_is_kept_exactly_or_refused(payload: dict[Any, Any]) -> None:
    message = None
    try:
        body, fresh = encode(payload)
    except InvalidPayloadError as exc:
        message = str(exc)
    else:
        assert exactly(fresh, payload)
        assert exactly(decode(body), payload)
    if message is not None:
        assert message.startswith("$")
        assert not is_plain_json(payload), "refused although nothing is wrong with it"


def is_plain_json(value: object) -> bool:
    """The rules again, written the slow way."""
    if isinstance(value, dict):
        return type(value) is dict and all(
            type(k) is str and is_text(k) and is_plain_json(v) for k, v in value.items()
        )
    if isinstance(value, list):
        return type(value) is list and all(map(is_plain_json, value))
    if isinstance(value, str):
        return type(value) is str and is_text(value)
    if isinstance(value, float):
        return type(value) is float and math.isfinite(value)
    return value is None or type(value) in {bool, int}


def is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)
