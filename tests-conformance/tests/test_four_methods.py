"""The suite on a backend that has only the four methods: it passes what binds it, and refuses all the rest."""

from __future__ import annotations

from functools import partial

import pytest

from four_methods import FourMethods
from oacp_storage_conformance import StorageConformance
from pytest_runs import run_pytest


class TestFourMethods(StorageConformance):
    @pytest.fixture
    def storage_source(self):
        return partial(FourMethods, {}, {})


def test_the_grade_of_four_methods(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(__import__("pathlib").Path(__file__).parent))
    run = run_pytest(
        tmp_path,
        """
        from functools import partial
        import pytest
        from four_methods import FourMethods
        from oacp_storage_conformance import StorageConformance

        class TestMine(StorageConformance):
            @pytest.fixture
            def storage_source(self):
                return partial(FourMethods, {}, {})
        """,
    )
    assert run.status == 0, run.output
    assert run.target["declared"] == ["core"]
    assert run.row("core")["verdict"] == "incomplete"  # a source that no other process can use
    assert [
        one["test"] for one in run.target["tests"] if one["subject"] == "core" and one["outcome"] == "not run"
    ] == ["test_nothing_keeps_the_interpreter_from_exiting"]
    for subject in ("idempotent_append", "history", "versioned_state", "namespaces", "verify", "import"):
        row = run.row(subject)
        assert row["verdict"] == "refused", subject
        assert row["refused"] == row["tests"] > 0
        assert row["passed"] == row["failed"] == row["not_run"] == 0
    for subject in ("storage", "durable", "multiprocess", "schema", "network"):
        assert run.row(subject)["verdict"] == "not declared", subject


@pytest.mark.parametrize("subject", ["history", "turn", "watch"])
def test_emulating_what_is_not_declared_is_a_failure(tmp_path, monkeypatch, subject):
    """A storage that does not declare a capability, but answers its methods, fails that capability."""
    run = run_pytest(
        tmp_path,
        f"""
        from uuid import uuid4
        import pytest
        from oacp_storage_core import Capability, MemoryStorage
        from oacp_storage_conformance import StorageConformance

        class Modest(MemoryStorage):
            declares = MemoryStorage.declares - {{Capability("{subject}")}}

        class TestMine(StorageConformance):
            @pytest.fixture
            def storage_source(self):
                name = uuid4().hex
                return lambda **options: Modest(name, **options)
        """,
        "-k",
        "methods_work_exactly",
    )
    assert run.status == 1
    assert run.row(subject)["verdict"] == "failed"
    assert run.failed_clauses() == {"Capabilities"}
