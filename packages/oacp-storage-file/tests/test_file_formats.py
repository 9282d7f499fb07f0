"""Lines and documents: readable, and exact to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oacp_storage_core.payload import encode
from oacp_storage_engine import Record
from oacp_storage_file.documents import format_document, parse_document
from oacp_storage_file.lines import (
    DamagedLineError,
    format_line,
    format_time,
    is_whole,
    parse_line,
    parse_time,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)
TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


@given(st.integers(1, 2**63 - 1), TEXT, TIMES, st.integers(0, 2**32 - 1), st.dictionaries(TEXT, JSON))
def test_lines_come_back_to_the_byte(
    sequence: int, one: str, at_us: int, crc: int, data: dict[str, object]
) -> None:
    body, _ = encode(data)
    line = format_line(sequence, one, at_us, crc, body)
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    assert parse_line(line[:-1]) == Record(sequence, one, at_us, body, crc)
    assert json.loads(line)["data"] == data
    assert is_whole(line[:-1])


@given(TEXT, st.integers(1, 2**63 - 1), TIMES, st.integers(0, 2**32 - 1), st.dictionaries(TEXT, JSON))
def test_documents_come_back_to_the_byte(
    key: str, version: int, at_us: int, crc: int, data: dict[str, object]
) -> None:
    body, _ = encode(data)
    content = format_document(key, version, at_us, crc, body)
    assert parse_document(content, key) == (key, version, at_us, body, crc, None)
    assert parse_document(content, None).key == key
    assert json.loads(content)["data"] == data
    assert b"\0" not in content


def test_documents_are_for_people() -> None:
    body, _ = encode({"likes": ["tea"], "n": 1.0})
    assert format_document("k", 3, 1_700_000_000_000_000, 5, body).decode().splitlines()[-7:] == [
        '  "data": {',
        '    "likes": [',
        '      "tea"',
        "    ],",
        '    "n": 1.0',
        "  }",
        "}",
    ]


def test_indentation_never_blows_a_document_up() -> None:
    deep: object = [1] * 20_000
    for _ in range(90):
        deep = [deep]
    body, _ = encode({"deep": deep})
    content = format_document("k", 1, 0, 5, body)
    assert len(content) < 200 * len(body)
    wide, _ = encode({"wide": [1] * 200_000})
    assert len(format_document("k", 1, 0, 5, wide)) < len(wide) + 200


@given(TIMES)
def test_times_come_back(at_us: int) -> None:
    assert len(format_time(at_us)) == 27
    assert parse_time(format_time(at_us)) == at_us


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14t22:13:20.123456Z",
        "2023-11-14T22:13:20,123456Z",
        "2023-11-14T22:13:20.123456z",
        "2023-11-14T22:13:20.12345Z",
        "2023-11-14T22:13:20.1_3456Z",
        "2023-11-14T22:13:20Z",
        "2023-11-14",
        "20231114T221320.123456Z",
        "2023-11-14T25:13:20.123456Z",
        "",
    ],
)
def test_times_written_otherwise_are_damage(text: str) -> None:
    with pytest.raises(DamagedLineError):
        parse_time(text)


def test_a_document_of_another_key_is_damaged() -> None:
    content = format_document("k", 3, 0, 5, b"{}")
    assert parse_document(content, "other").damage is not None
    assert parse_document(content[:-5], "k").damage is not None
    assert parse_document(content[:-5], "k").version == 3  # so that storing it again goes on from there
