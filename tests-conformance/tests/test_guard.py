"""A subclass may not change what the suite proves."""

from __future__ import annotations

import pytest

from oacp_storage_conformance import ClauseName, StorageConformance, suite_tests
from oacp_storage_conformance.calls import ALL_CALLS, FURTHER_METHODS
from oacp_storage_conformance.clause import clause, clause_of
from oacp_storage_core import Capability, Storage, StorageBackend
from pytest_runs import run_pytest


def test_redefining_a_test_is_refused():
    with pytest.raises(
        TypeError, match=r"Mine redefines test_a_limit_of_zero_returns_nothing.*expected_failures"
    ):

        class Mine(StorageConformance):
            def test_a_limit_of_zero_returns_nothing(self):  # type: ignore[override]  # what it refuses
                pass


@pytest.mark.parametrize("value", [None, pytest.mark.skip(lambda self: None), property(lambda self: None)])
def test_removing_a_test_is_refused(value):
    with pytest.raises(TypeError, match="redefines test_a_negative_limit_is_refused"):
        type("Mine", (StorageConformance,), {"test_a_negative_limit_is_refused": value})


def test_redefining_a_test_by_a_mixin_is_refused():
    class Mixin:
        def test_a_negative_limit_is_refused(self):
            pass

    with pytest.raises(TypeError, match="redefines test_a_negative_limit_is_refused"):
        type("Mine", (Mixin, StorageConformance), {})


def test_redefining_a_test_further_down_is_refused():
    class Mine(StorageConformance):
        pass

    with pytest.raises(TypeError, match="redefines test_a_negative_limit_is_refused"):
        type("Other", (Mine,), {"test_a_negative_limit_is_refused": None})


@pytest.mark.parametrize("name", ["place", "setting"])
def test_redefining_a_fixture_of_the_suite_is_refused(name):
    with pytest.raises(TypeError, match=f"redefines {name}"):
        type("Mine", (StorageConformance,), {name: pytest.fixture(lambda self: None)})


def test_tests_and_fixtures_of_ones_own_are_welcome():
    class Mine(StorageConformance):
        @pytest.fixture
        def storage_source(self):
            return "memory://"

        def test_of_my_own(self):
            pass

    assert clause_of(Mine.test_of_my_own) is None


def test_unknown_expected_failures_are_refused():
    with pytest.raises(TypeError, match="test_no_such_thing"):
        type("Mine", (StorageConformance,), {"expected_failures": {"test_no_such_thing": "reason"}})
    with pytest.raises(TypeError, match="no such case"):
        type(
            "Mine",
            (StorageConformance,),
            {"expected_failures": {"test_a_limit_of_zero_returns_nothing[no such case]": "r"}},
        )


def test_expected_failures_need_a_reason():
    with pytest.raises(TypeError, match="gives no reason for test_a_limit_of_zero_returns_nothing"):
        type(
            "Mine",
            (StorageConformance,),
            {"expected_failures": {"test_a_limit_of_zero_returns_nothing": " "}},
        )


def test_a_test_without_its_message_is_refused():
    with pytest.raises(TypeError, match="Look at"):

        @clause(ClauseName.ORDER)
        def test_something(self):
            """Says what, but not where to look."""


def test_every_clause_and_capability_has_tests():
    listed = suite_tests()
    assert {test.clause for test in listed} == set(ClauseName)
    for capability in Capability:
        assert any(test.subject == capability and capability in test.needs for test in listed), capability
        assert any(test.subject == capability and capability not in test.needs for test in listed), capability
    assert len({test.id for test in listed}) == len(listed)


def test_every_method_of_the_interface_is_called():
    """What is about all methods is about those that come later, too."""
    methods = {name for name in vars(Storage) if not name.startswith("_")} - {
        "declares",
        "capabilities",
        "health",
    }
    called = {name.partition(",")[0] for name in ALL_CALLS}
    assert called == methods | StorageBackend.__abstractmethods__
    assert {call.subject for call in FURTHER_METHODS.values()} == set(Capability) - {Capability.NAMESPACES}


EXPECTED = """
    from uuid import uuid4
    import pytest
    from oacp_storage_core import MemoryStorage
    from oacp_storage_conformance import StorageConformance

    class Wrong(MemoryStorage):
        async def get_interactions(self, agent_id, limit=100):
            found = await super().get_interactions(agent_id, limit)
            return found[:-1] if limit == 6 else found

    class TestMine(StorageConformance):
        expected_failures = {"%s": "the limit 6 is off by one"}

        @pytest.fixture
        def storage_source(self):
            name = uuid4().hex
            return lambda **options: Wrong(name, **options)
"""


def test_an_expected_failure_is_an_xfail_and_counts_as_failed(tmp_path):
    name = "test_get_interactions_returns_the_newest_limit"
    run = run_pytest(tmp_path, EXPECTED % name, "-k", "newest_limit or limit_of_zero")
    assert run.status == 0, run.output
    assert "1 passed, " in run.output
    assert "1 xfailed" in run.output
    (told,) = [one for one in run.target["tests"] if one["test"] == name]
    assert (told["outcome"], told["expected"]) == ("failed", "the limit 6 is off by one")
    assert (run.row("core")["failed"], run.row("core")["verdict"]) == (1, "failed")


def test_an_expected_failure_that_passes_is_a_failure(tmp_path):
    name = "test_a_limit_of_zero_returns_nothing"
    run = run_pytest(tmp_path, EXPECTED % name, "-k", "limit_of_zero")
    assert run.status == 1
    assert "XPASS(strict)" in run.output
    assert run.outcome(name) == "failed"


def test_one_case_may_be_expected_to_fail(tmp_path):
    source = (
        EXPECTED.replace("limit == 6", "'bob' == agent_id.lower()") % "test_names_of_agents_are_exact[case]"
    )
    run = run_pytest(tmp_path, source, "-k", "names_of_agents")
    assert run.status == 0, run.output
    assert run.outcome("test_names_of_agents_are_exact[case]") == "failed"
    assert run.outcome("test_names_of_agents_are_exact[paths]") == "passed"
