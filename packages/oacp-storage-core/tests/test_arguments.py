"""Arguments of the interface: the one place in which every backend checks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from oacp_storage_core import (
    Document,
    Interaction,
    InvalidKeyError,
    InvalidPayloadError,
    PayloadTooLargeError,
)
from oacp_storage_core.arguments import (
    MAX_NUMBER,
    HistoryQuery,
    RetentionPick,
    check_call_size,
    check_expected_version,
    check_history,
    check_limit,
    check_list,
    check_retention,
    new_document,
    new_interaction,
    new_interactions,
)
from oacp_storage_core.payload import MAX_CALL_BYTES, MAX_CALL_INTERACTIONS
from oacp_storage_core.times import to_us

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAIVE = datetime(2026, 1, 2)  # noqa: DTZ001 - to be refused


# --- numbers ---------------------------------------------------------------------------------------------


def test_counts() -> None:
    assert check_limit(0) == 0
    assert check_limit(100) == 100


def test_what_no_store_can_hold_is_as_much_as_the_most() -> None:
    assert check_limit(MAX_NUMBER) == MAX_NUMBER == 2**53 - 1
    assert check_limit(2**64) == MAX_NUMBER
    assert check_limit(10**1000) == MAX_NUMBER
    assert check_expected_version(10**30) == MAX_NUMBER


@pytest.mark.parametrize("limit", [-1, -(10**30)])
def test_negative_counts_are_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=f"^limit must not be negative, it is {limit}$"):
        check_limit(limit)


@pytest.mark.parametrize("limit", [None, True, 1.0, "1", b"1", [1]])
def test_what_is_no_int_is_refused(limit: Any) -> None:
    with pytest.raises(TypeError, match=f"^after must be an int, not {type(limit).__name__}$"):
        check_limit(limit, "after")


def test_expected_versions() -> None:
    assert check_expected_version(None) is None
    assert check_expected_version(0) == 0
    assert check_expected_version(7) == 7
    with pytest.raises(ValueError, match=r"^expected_version must not be negative"):
        check_expected_version(-1)
    with pytest.raises(TypeError, match=r"^expected_version must be an int, not bool"):
        check_expected_version(True)


def test_lists() -> None:
    assert check_list("", None, 100) == ("", None, 100)
    assert check_list("a", "", 0) == ("a", "", 0)
    with pytest.raises(InvalidKeyError, match=r"^prefix must be a str"):
        check_list(None, None, 1)
    with pytest.raises(InvalidKeyError, match=r"^after must be a str"):
        check_list("", 1, 1)
    with pytest.raises(ValueError, match=r"^limit must not be negative"):
        check_list("", None, -1)


# --- history ---------------------------------------------------------------------------------------------


def test_history_without_conditions() -> None:
    query = check_history()
    assert query == HistoryQuery(0, None, None, None, None, False, None)
    assert not query.filtered
    assert query.admits(0, {})


def test_history_with_everything() -> None:
    query = check_history(3, 9, NOW, NOW + timedelta(microseconds=2), {"a": 1}, True, 5)
    at = to_us(NOW)
    assert query[:4] == (3, 9, at, at + 2)
    assert (query.reverse, query.limit) == (True, 5)
    assert query.filtered
    assert query.admits(at, {"a": 1}), "since is inclusive"
    assert query.admits(at + 1, {"a": 1})
    assert not query.admits(at + 2, {"a": 1}), "until is exclusive"
    assert not query.admits(at - 1, {"a": 1})
    assert not query.admits(at, {"a": 2})


@pytest.mark.parametrize("one", [{"since": NOW}, {"until": NOW}, {"where": {}}])
def test_each_condition_filters(one: dict[str, Any]) -> None:
    assert check_history(**one).filtered


@pytest.mark.parametrize("one", [{"after": 5}, {"before": 5}, {"limit": 5}, {"reverse": True}])
def test_bounds_do_not_filter(one: dict[str, Any]) -> None:
    assert not check_history(**one).filtered


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"after": -1}, ValueError, "after must not be negative, it is -1"),
        ({"after": None}, TypeError, "after must be an int, not NoneType"),
        ({"before": -1}, ValueError, "before must not be negative, it is -1"),
        ({"before": NOW}, TypeError, "before must be an int, not datetime"),
        ({"limit": -1}, ValueError, "limit must not be negative, it is -1"),
        ({"limit": "5"}, TypeError, "limit must be an int, not str"),
        ({"since": 5}, TypeError, "since must be a datetime, not int"),
        ({"until": "2026"}, TypeError, "until must be a datetime, not str"),
        (
            {"since": NAIVE},
            ValueError,
            "since 2026-01-02T00:00:00 is naive; give it a time zone, as in datetime.now(UTC)",
        ),
        (
            {"until": NAIVE},
            ValueError,
            "until 2026-01-02T00:00:00 is naive; give it a time zone, as in datetime.now(UTC)",
        ),
        ({"where": []}, ValueError, "where must be a mapping from path to value, not list"),
    ],
)
def test_other_history_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        check_history(**arguments)
    assert type(caught.value) is error
    assert str(caught.value) == message


# --- retention -------------------------------------------------------------------------------------------


def test_retention() -> None:
    assert check_retention("a", ["x", "y"], NOW, 3) == RetentionPick(("x", "y"), to_us(NOW), 3)
    assert check_retention(None, None, NOW, None) == RetentionPick(None, to_us(NOW), None)
    assert check_retention(None, None, None, 0) == RetentionPick(None, None, 0)
    assert check_retention("a", iter(["x"]), None, None) == RetentionPick(("x",), None, None)
    assert check_retention("a", [], None, None) == RetentionPick((), None, None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("a", None, None, None),
            ValueError,
            "delete_interactions needs ids, before or keep_last: without a criterion nothing is deleted",
        ),
        (
            (None, ["x"], None, None),
            ValueError,
            "delete_interactions with ids needs the agent_id that they belong to",
        ),
        (("a", "xyz", None, None), TypeError, "ids must be a list of interaction ids, not one str"),
        (
            ("a", [""], None, None),
            InvalidKeyError,
            "interaction id is empty; it must have 1 to 512 bytes of UTF-8",
        ),
        (("a", [1], None, None), InvalidKeyError, "interaction id must be a str, not int"),
        (
            ("a", None, NAIVE, None),
            ValueError,
            "before 2026-01-02T00:00:00 is naive; give it a time zone, as in datetime.now(UTC)",
        ),
        (("a", None, 17, None), TypeError, "before must be a datetime, not int"),
        (("a", None, None, -1), ValueError, "keep_last must not be negative, it is -1"),
    ],
)
def test_other_retention_is_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        check_retention(*arguments)
    assert type(caught.value) is error
    assert str(caught.value) == message


# --- interactions on their way in ------------------------------------------------------------------------


def test_an_interaction_gets_an_id_and_a_time() -> None:
    before = to_us(datetime.now(UTC))
    new = new_interaction({"x": 1}, coerce=False)
    assert UUID(new.id).version == 7
    assert not new.given
    assert before <= new.at_us <= to_us(datetime.now(UTC))
    assert (new.body, new.data, new.sequence) == (b'{"x":1}', {"x": 1}, 0)


def test_a_given_id_and_time_are_kept() -> None:
    new = new_interaction({}, coerce=False, interaction_id="mine", timestamp=NOW)
    assert (new.id, new.given, new.at_us) == ("mine", True, to_us(NOW))


def test_coerce_is_applied_where_it_is_set() -> None:
    assert new_interaction({"x": ()}, coerce=True).data == {"x": []}
    assert new_interactions("a", [{"x": ()}], coerce=True)[0].data == {"x": []}
    with pytest.raises(InvalidPayloadError):
        new_interaction({"x": ()}, coerce=False)


def test_several_interactions_keep_their_order_ids_and_times() -> None:
    record = Interaction("a", "given", 99, NOW, {"n": 2})
    new = new_interactions("a", [{"n": 1}, record, {"n": 3}], coerce=False)
    assert [one.data["n"] for one in new] == [1, 2, 3]
    assert [one.given for one in new] == [False, True, False]
    assert (new[1].id, new[1].at_us) == ("given", to_us(NOW))
    assert new[1].sequence == 0, "the store assigns sequences, except in an import"


def test_an_import_keeps_sequences() -> None:
    new = new_interactions("a", [Interaction("a", "i", 99, NOW, {})], coerce=False, imported=True)
    assert new[0].sequence == 99


class Row(NamedTuple):
    x: int


@pytest.mark.parametrize(
    ("interactions", "error", "message"),
    [
        ({"x": 1}, TypeError, "interactions must be a list of dicts or Interaction records, not dict"),
        ("text", TypeError, "interactions must be a list of dicts or Interaction records, not str"),
        (
            Interaction("a", "i", 1, NOW, {}),
            TypeError,
            "interactions must be a list of dicts or Interaction records, not Interaction",
        ),
        (
            [{}, Interaction("b", "i", 1, NOW, {})],
            ValueError,
            "$[1]: the Interaction is of agent 'b', the call is for 'a'",
        ),
        ([{}, {"x": [0, ()]}], InvalidPayloadError, "$[1].x[1]: tuple is not JSON; use list(value)"),
        ([{}, Row(1)], InvalidPayloadError, "$[1]: Row is not a JSON object; wrap it in a dict"),
        (
            [Interaction("a", "i", 1, NOW, {"x": b""})],
            InvalidPayloadError,
            "$[0].x: bytes is not JSON; use base64 text",
        ),
        (
            [Interaction("a", "", 1, NOW, {})],
            InvalidKeyError,
            "interaction id is empty; it must have 1 to 512 bytes of UTF-8",
        ),
        (
            [Interaction("a", "i", 1, NAIVE, {})],
            ValueError,
            "timestamp 2026-01-02T00:00:00 is naive; give it a time zone, as in datetime.now(UTC)",
        ),
    ],
)
def test_other_interactions_are_refused(interactions: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        new_interactions("a", interactions, coerce=False)
    assert type(caught.value) is error
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("sequence", "error", "message"),
    [
        (
            0,
            ValueError,
            "$[0]: the sequence of an imported Interaction must be 1 to 9007199254740991, it is 0",
        ),
        (
            2**53,
            ValueError,
            "$[0]: the sequence of an imported Interaction must be 1 to 9007199254740991, it is 9007199254740992",
        ),
        (-1, ValueError, "$[0]: the sequence of an imported Interaction must not be negative, it is -1"),
        (None, TypeError, "$[0]: the sequence of an imported Interaction must be an int, not NoneType"),
    ],
)
def test_an_import_needs_sequences(sequence: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        new_interactions("a", [Interaction("a", "i", sequence, NOW, {})], coerce=False, imported=True)
    assert str(caught.value) == message


def test_an_import_needs_records() -> None:
    plain: list[Any] = [{"x": 1}]
    with pytest.raises(TypeError, match=r"^\$\[0\]: an import takes Interaction records, not dict$"):
        new_interactions("a", plain, coerce=False, imported=True)


def endless() -> Iterator[Mapping[str, Any]]:
    while True:
        yield {}


def test_one_call_takes_20_000_interactions() -> None:
    many: list[Mapping[str, Any]] = [{}] * MAX_CALL_INTERACTIONS
    assert len(new_interactions("a", many, coerce=False)) == MAX_CALL_INTERACTIONS == 20_000
    with pytest.raises(
        PayloadTooLargeError, match=r"^more than 20,000 interactions in one call; split it into sev"
    ):
        new_interactions("a", [*many, {}], coerce=False)
    with pytest.raises(PayloadTooLargeError, match=r"^more than 20,000"):
        new_interactions("a", endless(), coerce=False)  # type: ignore[arg-type]  # a generator, which must not hang


def test_one_call_takes_32_mib() -> None:
    ten_mib = {"x": "a" * (10 * 1024 * 1024)}
    assert len(new_interactions("a", [ten_mib] * 3, coerce=False)) == 3
    with pytest.raises(
        PayloadTooLargeError, match=r"^over 33,554,432 bytes of JSON in one call; split it into sev"
    ):
        new_interactions("a", [ten_mib] * 4, coerce=False)
    check_call_size(MAX_CALL_BYTES)
    with pytest.raises(PayloadTooLargeError):
        check_call_size(MAX_CALL_BYTES + 1)


# --- documents of an import ------------------------------------------------------------------------------


def test_documents_of_an_import() -> None:
    new = new_document(Document("k", {"x": 1}, 7, NOW), coerce=False)
    assert new == ("k", 7, to_us(NOW), b'{"x":1}')
    assert new.data == {"x": 1}
    assert new_document(Document("", {}, 1, NOW), coerce=False, is_state=True).key == ""


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ({"x": 1}, TypeError, "an import takes Document records, not dict"),
        (Document("", {}, 1, NOW), InvalidKeyError, "key is empty; it must have 1 to 512 bytes of UTF-8"),
        (Document("k", {"x": ()}, 1, NOW), InvalidPayloadError, "$.x: tuple is not JSON; use list(value)"),
        (
            Document("k", {}, 0, NOW),
            ValueError,
            "the version of an imported Document must be 1 to 9007199254740991, it is 0",
        ),
        (
            Document("k", {}, 1, NAIVE),
            ValueError,
            "updated_at 2026-01-02T00:00:00 is naive; give it a time zone, as in datetime.now(UTC)",
        ),
    ],
)
def test_other_documents_are_refused(document: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        new_document(document, coerce=False)
    assert type(caught.value) is error
    assert str(caught.value) == message
