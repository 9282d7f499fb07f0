"""Grades count against the suite's own list: what did not run raises none."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from oacp_storage_conformance import suite_tests
from oacp_storage_conformance.clause import ClauseName, Trait
from oacp_storage_conformance.grading import SUBJECTS, Ledger, Row, as_json, grade, is_whole
from oacp_storage_conformance.listing import ListedTest
from oacp_storage_conformance.table import render
from oacp_storage_core import Capability
from pytest_runs import run_pytest

HISTORY, WATCH = Capability.HISTORY, Capability.WATCH
LISTED = [
    ListedTest("test_core", "", ClauseName.ORDER, Trait.CORE, (), tamper=False),
    ListedTest("test_history", "", ClauseName.HISTORY, HISTORY, (HISTORY,), tamper=False),
    ListedTest("test_both", "", ClauseName.HISTORY, HISTORY, (HISTORY, WATCH), tamper=False),
    ListedTest("test_tampered", "", ClauseName.DAMAGE, HISTORY, (HISTORY,), tamper=True),
    ListedTest("test_refusal", "iter", ClauseName.CAPABILITIES, HISTORY, (), tamper=False),
    ListedTest("test_refusal", "count", ClauseName.CAPABILITIES, HISTORY, (), tamper=False),
]


def note(
    ledger,
    name,
    case="",
    *,
    when="call",
    outcome="passed",
    declared=("core", "history"),
    xfail=None,
    facts=(),
):
    report = SimpleNamespace(
        when=when,
        failed=outcome == "failed",
        skipped=outcome == "skipped",
        passed=outcome == "passed",
        longrepr=("file.py", 1, "Skipped: somebody's reason") if outcome == "skipped" else None,
    )
    if xfail is not None:
        report.wasxfail = xfail
    ledger.note(
        report, {"target": "T", "name": name, "case": case}, {"declared": list(declared), **dict(facts)}
    )


def row(ledger, subject):
    return next(one for one in grade(ledger.targets["T"], LISTED) if one.subject == subject)


def everything_passes(ledger):
    for test in LISTED:
        note(ledger, test.name, test.case)


def test_what_is_declared_and_passes_is_passed():
    ledger = Ledger()
    everything_passes(ledger)
    assert row(ledger, "history") == Row("history", True, 5, 5, 0, 0, 0, 0)
    assert row(ledger, "history").verdict == "passed"
    assert row(ledger, "watch").verdict == "not declared"


def test_what_needs_an_undeclared_capability_does_not_count():
    ledger = Ledger()
    for test in LISTED:
        if test.name != "test_both":
            note(ledger, test.name, test.case)
    assert row(ledger, "history") == Row("history", True, 4, 4, 0, 0, 0, 0)


def test_a_test_that_did_not_run_is_not_passed():
    ledger = Ledger()
    note(ledger, "test_core")
    note(ledger, "test_history")
    assert row(ledger, "history") == Row("history", True, 4, 1, 0, 0, 0, 3)
    assert row(ledger, "history").verdict == "incomplete"


def test_nothing_run_is_no_grade():
    ledger = Ledger()
    note(ledger, "test_core")
    assert row(ledger, "history").verdict == "not run"


def test_one_failure_is_failed():
    ledger = Ledger()
    everything_passes(ledger)
    note(ledger, "test_history", outcome="failed")
    assert row(ledger, "history").verdict == "failed"
    assert row(ledger, "core").verdict == "passed"
    assert ledger.failed


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_a_failure_around_a_test_is_its_failure(when):
    ledger = Ledger()
    everything_passes(ledger)
    note(ledger, "test_history", when=when, outcome="failed")
    note(ledger, "test_history")  # as a later phase might report
    assert row(ledger, "history").failed == 1


def test_an_expected_failure_is_a_failure():
    ledger = Ledger()
    note(ledger, "test_history", outcome="skipped", xfail="known")
    assert row(ledger, "history").failed == 1


def test_a_skip_by_somebody_else_is_not_run():
    ledger = Ledger()
    everything_passes(ledger)
    note(ledger, "test_history", when="setup", outcome="skipped")
    assert row(ledger, "history").not_run == 1
    assert ledger.targets["T"].results["test_history", ""].reason == "Skipped: somebody's reason"


def test_what_does_not_apply_is_not_counted():
    ledger = Ledger()
    for test in LISTED:
        if test.tamper:
            note(ledger, test.name, when="setup", outcome="skipped", facts={"outcome": "not applicable"})
        else:
            note(ledger, test.name, test.case)
    assert row(ledger, "history") == Row("history", True, 4, 4, 0, 0, 0, 0)


def test_what_needs_a_second_path_into_the_store_is_counted_apart():
    ledger = Ledger()
    for test in LISTED:
        needs = {"outcome": "needs tamper", "reason": "it needs a second path"}
        outcome = "skipped" if test.tamper else "passed"
        note(ledger, test.name, test.case, when="call", outcome=outcome, facts=needs if test.tamper else {})
    assert row(ledger, "history") == Row("history", True, 5, 4, 0, 0, 1, 0)
    assert row(ledger, "history").verdict == "partly"
    assert is_whole(ledger.targets["T"], LISTED)
    table = render(ledger.targets["T"], LISTED, width=80, color=False)
    assert "proven: 1 of 2 promised, 1 partly" in table
    assert "not run, 1: it needs a second path" in table
    assert "no grade of the whole" not in table


def test_a_part_is_told_from_the_whole():
    ledger = Ledger()
    note(ledger, "test_core")
    target = ledger.targets["T"]
    assert not is_whole(target, LISTED)
    assert "This is no grade of the whole" in render(target, LISTED, width=80, color=False)
    everything_passes(ledger)
    assert is_whole(target, LISTED)


def test_refusals_of_what_is_not_declared():
    ledger = Ledger()
    for case in ("iter", "count"):
        note(ledger, "test_refusal", case, declared=["core"], facts={"outcome": "refused"})
    assert row(ledger, "history") == Row("history", False, 2, 0, 0, 2, 0, 0)
    assert row(ledger, "history").verdict == "refused"


def test_a_missing_refusal_is_not_refused():
    ledger = Ledger()
    note(ledger, "test_refusal", "iter", declared=["core"], facts={"outcome": "refused"})
    assert row(ledger, "history").verdict == "incomplete"


def test_rows_add_up_and_the_table_shows_them():
    ledger = Ledger()
    everything_passes(ledger)
    rows = grade(ledger.targets["T"], LISTED)
    assert [one.subject for one in rows] == [str(subject) for subject in SUBJECTS]
    for one in rows:
        assert one.passed + one.failed + one.refused + one.tamper + one.not_run == one.tests
    table = render(ledger.targets["T"], LISTED, width=100, color=False)
    assert "history" in table
    assert "durable: no" in table
    assert "proven: 2 of 2 promised" in table
    assert json.loads(json.dumps(as_json(ledger, LISTED, 7)))["seed"] == 7


SOURCE = """
    from uuid import uuid4
    import os
    import pytest
    from oacp_storage_conformance import StorageConformance

    class TestMine(StorageConformance):
        @pytest.fixture%s
        def storage_source(self%s):
            return f"memory://{uuid4().hex}"
"""


def test_deselecting_raises_no_grade(tmp_path):
    run = run_pytest(tmp_path, SOURCE % ("", ""), "-k", "limit_of_zero")
    assert run.status == 0, run.output
    assert (run.row("core")["passed"], run.row("core")["verdict"]) == (1, "incomplete")
    assert run.row("history")["verdict"] == "not run"
    assert run.row("core")["tests"] == sum(
        test.subject == "core" and not test.needs for test in suite_tests()
    )


def test_stopping_early_raises_no_grade(tmp_path):
    source = SOURCE % ("", "") + "\n    def test_first():\n        os._exit(3)\n"
    run = run_pytest(tmp_path, source, "-k", "limit_of_zero or test_first")
    assert run.status == 3
    assert run.graded is None


def test_each_value_of_a_parametrised_fixture_is_graded_by_itself(tmp_path):
    run = run_pytest(
        tmp_path,
        SOURCE % ("(params=['a', 'b'])", ", request"),
        "-k",
        "limit_of_zero or namespaces_are_refused",
    )
    assert run.status == 0, run.output
    assert [target["target"] for target in run.targets] == [
        "test_mine.py::TestMine[storage_source 0]",
        "test_mine.py::TestMine[storage_source 1]",
    ]
    for target in run.targets:
        assert sum(one["outcome"] == "passed" for one in target["tests"]) == 9


def test_a_failure_says_what_the_contract_asks_and_where_to_look(tmp_path):
    source = """
        import pytest
        from uuid import uuid4
        from oacp_storage_core import MemoryStorage
        from oacp_storage_conformance import StorageConformance

        class Wrong(MemoryStorage):
            async def get_interactions(self, agent_id, limit=100):
                return await super().get_interactions(agent_id, limit or 100)

        class TestMine(StorageConformance):
            @pytest.fixture
            def storage_source(self):
                name = uuid4().hex
                return lambda **options: Wrong(name, **options)
    """
    run = run_pytest(tmp_path, source, "-k", "limit_of_zero")
    assert run.status == 1
    assert "the contract: Order (core)" in run.output
    assert "limit=0 gives []." in run.output
    assert "Look at: `[-limit:]`, which is everything when limit is 0" in run.output
    assert "- [Order] " in run.output, "the summary names the clause"
    assert "assert [{'n': 1}, {'n': 2}, {'n': 3}] == []" in run.output, "asserts of the suite are rewritten"
