"""The interchange format: what a line may be, what is wrong with others, and the ids of those without one."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oacp_storage.interchange import MalformedLineError, format_line, parse_line
from oacp_storage.lines import Line
from oacp_storage_core import Interaction
from oacp_storage_core.payload import encode

NOW = datetime(2025, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)


def parsed(text: str | bytes, number: int = 1) -> Interaction:
    return parse_line(Line(number, text if isinstance(text, bytes) else text.encode()), NOW)


def test_a_full_line() -> None:
    line = '{"id": "i", "interaction": {"b": 1, "a": 1.0}, "timestamp": "2024-02-29T10:00:00+02:00", "agent_id": "x"}\n'
    moment = datetime(2024, 2, 29, 8, tzinfo=UTC)
    found = parsed(line)
    assert found == Interaction("x", "i", 0, moment, {"b": 1, "a": 1.0})
    assert list(found.data) == ["b", "a"]
    assert found.timestamp.tzinfo is UTC


def test_id_and_time_may_be_missing_or_null() -> None:
    bare = parsed('{"agent_id": "x", "interaction": {}}')
    assert bare.timestamp == NOW
    assert bare == parsed('{"agent_id": "x", "interaction": {}, "id": null, "timestamp": null}')


def test_a_derived_id_is_the_same_for_ever() -> None:
    """These ids are in people's storages: a release that made others would import everything again."""
    line = '{"agent_id": "x", "interaction": {"text": "h\\u00e9", "n": [1, 1.0, null]}}'
    assert parsed(line, 17).id == "line-17-0d33317ac9bc145d08eab22fc838f0a0"


def test_a_derived_id_depends_on_number_agent_and_interaction_alone() -> None:
    base = parsed('{"agent_id": "x", "interaction": {"text": "hé"}}').id
    assert (
        parsed('{"interaction":{"text":"h\\u00e9"},"timestamp":"2024-01-01T00:00:00Z","agent_id":"x"}').id
        == base
    )
    others = [
        parsed('{"agent_id": "x", "interaction": {"text": "hé"}}', 2).id,
        parsed('{"agent_id": "y", "interaction": {"text": "hé"}}').id,
        parsed('{"agent_id": "x", "interaction": {"text": "he"}}').id,
    ]
    assert len({base, *others}) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nope", "not JSON: Expecting value at character 0"),
        ('{"agent_id": "x", "interaction": {}', "not JSON: Expecting ',' delimiter at character 35"),
        ('{"agent_id": "x", "interaction": {}} {}', "not JSON: Extra data"),
        ("[1]", "not a JSON object"),
        ("null", "not a JSON object"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 text: invalid start byte at byte 0"),
        ('{"interaction": {}}', "agent_id is missing"),
        ('{"agent_id": "x"}', "interaction is missing"),
        ('{"agent_id": null, "interaction": {}}', "agent_id must be a string, not null"),
        ('{"agent_id": "", "interaction": {}}', "agent_id is empty"),
        ('{"agent_id": "a\\u0000", "interaction": {}}', "contains a NUL character"),
        ('{"agent_id": "\\ud800", "interaction": {}}', "lone surrogate"),
        (json.dumps({"agent_id": "x" * 513, "interaction": {}}), "513 bytes"),
        ('{"agent_id": "x", "interaction": {}, "id": 5}', "id must be a string, not a number"),
        ('{"agent_id": "x", "interaction": {}, "id": ""}', "id is empty"),
        ('{"agent_id": "x", "interaction": [1]}', "interaction must be an object, not an array"),
        ('{"agent_id": "x", "interaction": null}', "interaction must be an object, not null"),
        (
            '{"agent_id": "x", "interaction": {"a": {"b": NaN}}}',
            "interaction.a.b: NaN is not JSON; write null",
        ),
        (
            '{"agent_id": "x", "interaction": {"a": 1e999}}',
            "interaction.a: the number is infinite, or beyond 1.8e308",
        ),
        ('{"agent_id": "x", "interaction": {"a": -Infinity}}', "interaction.a: the number is infinite"),
        (
            '{"agent_id": "x", "interaction": {"a": "\\udc00"}}',
            "interaction.a: the text has a lone surrogate",
        ),
        (
            '{"agent_id": "x", "interaction": {"a": %s}}' % ("9" * 4301),
            "an integer has more than 4,300 digits",
        ),
        ('{"agent_id": "x", "interaction": ' + '{"a":' * 97 + "1" + "}" * 98, "96"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"agent_id": "x", "agent_id": "y", "interaction": {}}', "the key 'agent_id' stands twice"),
        ('{"agent_id": "x", "interaction": {"a": [{"b": 1, "c": 2, "b": 1}]}}', "the key 'b' stands twice"),
        ('{"agent_id": "x", "interaction": {"a": 1, "\\u0061": 2}}', "the key 'a' stands twice"),
        ('{"agent_id": "x", "interaction": {"": 1, "": "\\u0022\\u0022"}}', "the key '' stands twice"),
        ('{"agent_id": "x", "interaction": {"n": NaN, "n": 1}}', "the key 'n' stands twice"),
        ('{"agent_id": "x", "interaction": {"%s": 1, "%s": 2}}' % (2 * ("k" * 500,)), "stands twice"),
        ('{"agent_id": "x", "interaction": {}, "sequence": 1}', "unknown field 'sequence'"),
        (
            '{"agent_id": "x", "interaction": {}, "timestamp": 1706700000}',
            "must be a string with an ISO 8601 time, not a number",
        ),
        ('{"agent_id": "x", "interaction": {}, "timestamp": "2024-01-01"}', "has no time zone"),
        ('{"agent_id": "x", "interaction": {}, "timestamp": "2024-01-01T00:00:00"}', "has no time zone"),
        ('{"agent_id": "x", "interaction": {}, "timestamp": "noon"}', "is not ISO 8601"),
        ('{"agent_id": "x", "interaction": {}, "timestamp": "0001-01-01T00:00:00+10:00"}', "out of range"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_wrong_with_a_line_is_said(text: str | bytes, reason: str) -> None:
    with pytest.raises(MalformedLineError) as caught:
        parsed(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not re.search(r"coerce|None|dict|list|str\(|\.decode", str(caught.value)), (
        "in the words of JSON, not of Python"
    )


def test_a_line_that_was_too_long_to_read() -> None:
    with pytest.raises(MalformedLineError, match=r"longer than 15,794,176 bytes"):
        parse_line(Line(1, None), NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
NAMES = st.text(min_size=1, max_size=100).filter(lambda name: "\0" not in name)
MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - Hypothesis wants bounds without a zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(NAMES, NAMES, MOMENTS, st.dictionaries(st.text(), JSON))
def test_what_is_written_reads_back(agent_id: str, name: str, moment: datetime, data: dict[str, Any]) -> None:
    written = Interaction(agent_id, name, 5, moment, data)
    line = format_line(written)
    assert line.count(b"\n") == 1
    found = parsed(line)
    assert (found.agent_id, found.id, found.timestamp) == (agent_id, name, moment)
    assert encode(found.data)[0] == encode(data)[0]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ('"agent_id": 1, "interaction": {}', "agent_id must be a string, not a number"),
        ('"agent_id": "a", "interaction": [{}]', "interaction must be an object, not an array"),
        ('"agent_id": "a", "interaction": null', "interaction must be an object, not null"),
        ('"agent_id": "a", "interaction": {}, "id": true', "id must be a string, not true"),
        (
            '"agent_id": "a", "interaction": {}, "timestamp": 1.5',
            "timestamp must be a string with an ISO 8601 time, not a number",
        ),
    ],
)
def test_a_value_of_another_kind_is_named_in_the_words_of_json(fields: str, reason: str) -> None:
    with pytest.raises(MalformedLineError) as caught:
        parse_line(Line(1, f"{{{fields}}}".encode()), datetime.now(UTC))
    assert str(caught.value) == reason
