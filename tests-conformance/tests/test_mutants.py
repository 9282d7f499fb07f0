"""The suite catches what it is for: each mutant fails, in a test of the clause that it breaks.

Prints a list of all mutants, killed or survived, with the tests that killed them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import mutants_documents
import mutants_life
import mutants_log
from mutants import MUTANTS
from pytest_runs import run_pytest

AT_LEAST = 40

PROJECT = """
from functools import partial

import mutants_documents, mutants_life, mutants_log
import pytest
from mutants import MUTANTS
from oacp_storage_conformance import StorageConformance
from oacp_storage_core import MemoryStorage
from test_memory import MemoryTamper


def suite_of(name, mutant):
    place = f"mutant-{name}"

    @pytest.fixture
    def storage_source(self):
        yield partial(mutant.backend, place)
        MemoryStorage.forget(place)

    @pytest.fixture
    def storage_tamper(self):
        return MemoryTamper(place)

    fixtures = {"storage_source": storage_source, "storage_tamper": storage_tamper, "clauses": mutant.clauses}
    return type(f"Test{name}", (StorageConformance,), fixtures)


for _name, _mutant in MUTANTS.items():
    globals()[f"Test{_name}"] = suite_of(_name, _mutant)
"""

ONLY_ITS_CLAUSES = """
import pytest

killed = set()


def pytest_collection_modifyitems(items):
    items[:] = [
        item for item in items if item.get_closest_marker("oacp_storage_clause").args[0] in item.cls.clauses
    ]


def pytest_runtest_setup(item):
    if item.cls in killed:
        pytest.skip("one failure is enough")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        killed.add(item.cls)
    return report
"""


def test_there_are_enough_mutants() -> None:
    assert {mutants_documents, mutants_life, mutants_log}
    assert len(MUTANTS) >= AT_LEAST
    assert all(mutant.wrong and mutant.clauses for mutant in MUTANTS.values())


@pytest.mark.timeout(600)
def test_every_mutant_is_killed_by_its_clause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv(
        "OACP_STORAGE_PATIENCE", "3"
    )  # a mutant that hangs is caught, too, and need not take long
    (tmp_path / "conftest.py").write_text(ONLY_ITS_CLAUSES)
    run = run_pytest(tmp_path, PROJECT, "-q", "--tb=no", "--no-header", seconds=500)
    assert run.graded is not None, run.output
    killers = {
        target["target"].rpartition("::Test")[2]: [
            one["test"] for one in target["tests"] if one["outcome"] == "failed"
        ]
        for target in run.graded["targets"]
    }
    survivors = [name for name in MUTANTS if not killers.get(name)]
    for name, mutant in MUTANTS.items():
        by = ", ".join(killers.get(name, [])[:3]) or "nothing"
        print(f"{'survived' if name in survivors else 'killed  '}  {name}: {mutant.wrong} [{by}]")
    assert survivors == []
