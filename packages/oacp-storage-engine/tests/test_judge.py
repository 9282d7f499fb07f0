"""The one judgement: what each clause lets through, refuses and writes."""

import pytest

from oacp_storage_engine import (
    Append,
    Applied,
    Conflict,
    DocKind,
    DocRef,
    Duplicate,
    Known,
    Put,
    Snapshot,
    Stored,
    Unit,
    judge,
    wanted,
)

STATE = DocRef("ann", DocKind.STATE, "")


def given(name: str, body: bytes = b"{}", sequence: int | None = None) -> Append:
    return Append(name, True, 1, body, 0, sequence)


def generated(name: str, body: bytes = b"{}") -> Append:
    return Append(name, False, 1, body, 0)


def put(body: bytes | None = b"{}", expected: int | None = None, version: int | None = None) -> Put:
    return Put(DocKind.STATE, "", body, 1, 0, expected, version)


def ann(*appends: Append, puts: tuple[Put, ...] = (), turn: bool = False) -> Unit:
    return Unit("ann", appends, puts, turn)


def turn(*appends: Append, puts: tuple[Put, ...] = ()) -> Unit:
    return ann(*appends, puts=puts, turn=True)


# --- what has to be known ---------------------------------------------------------------------------------


def test_wanted_asks_for_each_once_in_order_of_first_use() -> None:
    system = Unit(None, (), (Put(DocKind.SYSTEM, "lease", b"{}", 1, 0),))
    units = [
        Unit("bob", (given("x"), generated("g"))),
        ann(given("x"), puts=(put(),)),
        Unit("bob", (given("x"), given("y"))),
        system,
    ]
    need = wanted(units)
    assert need.agents == ["bob", "ann"]
    assert need.ids == [("bob", "x"), ("ann", "x"), ("bob", "y")]
    assert need.documents == [STATE, DocRef(None, DocKind.SYSTEM, "lease")]


# --- appends ----------------------------------------------------------------------------------------------


def test_sequences_go_on_after_the_head_from_unit_to_unit() -> None:
    plan = judge(
        [ann(generated("a"), generated("b")), Unit("bob", (generated("c"),)), ann(generated("d"))],
        Snapshot(heads={"ann": 7}),
    )
    assert plan.outcomes == [Applied((8, 9)), Applied((1,)), Applied((10,))]
    assert [(row.agent, row.sequence, row.append.id) for row in plan.rows] == [
        ("ann", 8, "a"),
        ("ann", 9, "b"),
        ("bob", 1, "c"),
        ("ann", 10, "d"),
    ]
    assert plan.heads == {"ann": 10, "bob": 1}


def test_a_given_id_that_exists_changes_nothing() -> None:
    plan = judge([ann(given("x", b'{"n":1}'))], Snapshot({"ann": 5}, {("ann", "x"): Known(3, b'{"n":1}')}))
    assert plan.outcomes == [Applied((3,), (), (0,))]
    assert not plan.rows
    assert not plan.heads


def test_the_same_payload_may_be_encoded_otherwise() -> None:
    known = Known(3, b'{"text":"\\u00e9"}')
    plan = judge([ann(given("x", '{"text":"é"}'.encode()))], Snapshot({"ann": 5}, {("ann", "x"): known}))
    assert plan.outcomes == [Applied((3,), (), (0,))]


@pytest.mark.parametrize("other", [b'{"n":1.0}', b'{"n":true}', b'{"n":2}', b"{}", b'{"n":1,"m":1}'])
def test_a_given_id_with_another_payload_is_a_duplicate(other: bytes) -> None:
    snapshot = Snapshot({"ann": 5}, {("ann", "x"): Known(3, b'{"n":1}')})
    plan = judge([ann(generated("new"), given("x", other))], snapshot)
    assert plan.outcomes == [Duplicate(1, 3)]
    assert not plan.rows


def test_an_id_whose_stored_payload_is_damaged_is_a_duplicate_too() -> None:
    plan = judge([ann(given("x", b'{"n":1}'))], Snapshot({"ann": 5}, {("ann", "x"): Known(3, b'{"n":')}))
    assert plan.outcomes == [Duplicate(0, 3)]


def test_ids_belong_to_their_agent() -> None:
    plan = judge([Unit("bob", (given("x"),))], Snapshot({"ann": 5}, {("ann", "x"): Known(3, b"{}")}))
    assert plan.outcomes == [Applied((1,))]


def test_an_earlier_unit_of_the_group_counts_as_existing() -> None:
    plan = judge([ann(given("x")), ann(given("x")), ann(given("x", b'{"n":1}'))], Snapshot())
    assert plan.outcomes == [Applied((1,)), Applied((1,), (), (0,)), Duplicate(0, 1)]
    assert len(plan.rows) == 1


def test_an_id_twice_in_a_batch_is_stored_once_if_the_payloads_agree() -> None:
    plan = judge([ann(given("x"), generated("g"), given("x"))], Snapshot())
    assert plan.outcomes == [Applied((1, 2, 1), (), (2,))]
    assert len(plan.rows) == 2
    assert judge([ann(given("x"), given("x", b"[]"))], Snapshot()).outcomes == [Duplicate(1, 0)]


def test_existing_appends_of_a_batch_use_up_no_sequence() -> None:
    snapshot = Snapshot({"ann": 5}, {("ann", "x"): Known(2, b"{}")})
    plan = judge([ann(generated("a"), given("x"), generated("b"))], snapshot)
    assert plan.outcomes == [Applied((6, 2, 7), (), (1,))]


def test_generated_ids_are_never_looked_up() -> None:
    plan = judge([ann(generated("x"))], Snapshot({"ann": 5}, {("ann", "x"): Known(2, b"{}")}))
    assert plan.outcomes == [Applied((6,))]


# --- documents --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "actual", "outcome"),
    [
        (None, 0, Applied((), (1,))),
        (None, 4, Applied((), (5,))),
        (0, 0, Applied((), (1,))),
        (4, 4, Applied((), (5,))),
        (0, 4, Conflict(0, 4)),
        (3, 4, Conflict(0, 4)),
        (5, 4, Conflict(0, 4)),
        (1, 0, Conflict(0, 0)),
    ],
)
def test_a_put_goes_by_the_expected_version(expected: int | None, actual: int, outcome: object) -> None:
    snapshot = Snapshot(versions={STATE: actual} if actual else {})
    plan = judge([ann(puts=(put(expected=expected),))], snapshot)
    assert plan.outcomes == [outcome]
    assert (STATE in plan.documents) == isinstance(outcome, Applied)


@pytest.mark.parametrize(
    ("expected", "actual", "outcome"),
    [
        (None, 0, Applied((), (0,))),
        (0, 0, Applied((), (0,))),
        (None, 4, Applied((), (4,))),
        (4, 4, Applied((), (4,))),
        (3, 4, Conflict(0, 4)),
        (1, 0, Conflict(0, 0)),
    ],
)
def test_a_delete_goes_by_the_expected_version_too(
    expected: int | None, actual: int, outcome: object
) -> None:
    plan = judge([ann(puts=(put(None, expected),))], Snapshot(versions={STATE: actual} if actual else {}))
    assert plan.outcomes == [outcome]
    assert plan.documents == ({STATE: None} if isinstance(outcome, Applied) and actual else {})


def test_a_deleted_document_starts_at_one_again_within_a_group() -> None:
    units = [ann(puts=(put(),)), ann(puts=(put(None),)), ann(puts=(put(b'{"n":1}', expected=0),))]
    plan = judge(units, Snapshot(versions={STATE: 8}))
    assert plan.outcomes == [Applied((), (9,)), Applied((), (9,)), Applied((), (1,))]
    assert plan.documents == {STATE: Stored(1, put(b'{"n":1}', expected=0))}


def test_one_conflict_fails_alone() -> None:
    units = [ann(puts=(put(expected=1),)), ann(generated("a"), puts=(put(expected=7),)), ann(generated("b"))]
    plan = judge(units, Snapshot(versions={STATE: 1}))
    assert plan.outcomes == [Applied((), (2,)), Conflict(0, 2), Applied((1,))]
    assert [row.append.id for row in plan.rows] == ["b"]


def test_what_is_written_to_lists_its_agent_and_what_is_not_does_not() -> None:
    assert judge([ann(puts=(put(),))], Snapshot()).heads == {"ann": 0}
    assert judge([ann(puts=(put(),))], Snapshot(heads={"ann": 9})).heads == {"ann": 9}
    assert judge([ann(puts=(put(None),))], Snapshot()).heads == {}
    system = Unit(None, (), (Put(DocKind.SYSTEM, "k", b"{}", 1, 0),))
    assert judge([system], Snapshot()).heads == {}


# --- turns ------------------------------------------------------------------------------------------------


def test_a_new_turn_is_written_whole() -> None:
    plan = judge([turn(given("x"), generated("g"), puts=(put(expected=0),))], Snapshot())
    assert plan.outcomes == [Applied((1, 2), (1,))]


def test_a_turn_that_exists_whole_is_replayed_and_writes_nothing() -> None:
    records = {("ann", "x"): Known(3, b"{}"), ("ann", "y"): Known(4, b"{}")}
    unit = turn(given("x"), given("y"), puts=(put(expected=99),))
    plan = judge([unit], Snapshot({"ann": 4}, records, {STATE: 1}))
    assert plan.outcomes == [Applied((3, 4), (), (0, 1), replayed=True)]
    assert not plan.rows
    assert not plan.documents
    assert not plan.heads


@pytest.mark.parametrize("second", [given("y"), generated("y")])
def test_a_turn_of_which_a_part_exists_is_a_duplicate(second: Append) -> None:
    plan = judge(
        [turn(second, given("x"), puts=(put(),))], Snapshot({"ann": 3}, {("ann", "x"): Known(3, b"{}")})
    )
    assert plan.outcomes == [Duplicate(1, 3)]
    assert not plan.documents


def test_a_turn_with_a_taken_id_is_a_duplicate() -> None:
    snapshot = Snapshot({"ann": 3}, {("ann", "x"): Known(3, b'{"n":1}')})
    assert judge([turn(given("x"))], snapshot).outcomes == [Duplicate(0, 3)]


def test_an_id_twice_in_a_turn_is_a_duplicate() -> None:
    assert judge([turn(given("x"), given("x"))], Snapshot()).outcomes == [Duplicate(1, 0)]


def test_a_conflict_stores_nothing_of_a_turn() -> None:
    plan = judge([turn(given("x"), puts=(put(expected=2),))], Snapshot(versions={STATE: 1}))
    assert plan.outcomes == [Conflict(0, 1)]
    assert not plan.rows


def test_a_turn_without_interactions_is_never_a_replay() -> None:
    plan = judge([turn(puts=(put(),)), turn(puts=(put(),))], Snapshot())
    assert plan.outcomes == [Applied((), (1,)), Applied((), (2,))]


# --- imports ----------------------------------------------------------------------------------------------


def test_an_import_keeps_sequences_and_versions() -> None:
    unit = ann(given("x", sequence=4), given("y", sequence=9), puts=(put(version=6),))
    plan = judge([unit, ann(generated("next"))], Snapshot(versions={STATE: 1}))
    assert plan.outcomes == [Applied((4, 9), (6,)), Applied((10,))]
    assert plan.heads == {"ann": 10}
    assert plan.documents == {STATE: Stored(6, put(version=6))}


@pytest.mark.parametrize("sequence", [1, 5])
def test_an_import_must_come_after_the_head(sequence: int) -> None:
    plan = judge([ann(given("x", sequence=sequence))], Snapshot(heads={"ann": 5}))
    assert plan.outcomes == [Duplicate(0, 0)]
    assert judge([ann(given("x", sequence=6), given("y", sequence=6))], Snapshot({"ann": 5})).outcomes == [
        Duplicate(1, 0)
    ]


def test_an_import_passes_over_what_is_there_unchanged() -> None:
    snapshot = Snapshot({"ann": 5}, {("ann", "x"): Known(3, b"{}")})
    plan = judge([ann(given("x", sequence=3), given("y", sequence=6))], snapshot)
    assert plan.outcomes == [Applied((3, 6), (), (0,))]
    assert judge(
        [ann(given("x", sequence=4))], Snapshot({"ann": 5}, {("ann", "x"): Known(3, b"{}")})
    ).outcomes == [Duplicate(0, 3)]
