"""Grading: what was proven, counted against the suite's own list of tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from oacp_storage_conformance.clause import Trait
from oacp_storage_core import Capability

if TYPE_CHECKING:
    import pytest

    from oacp_storage_conformance.listing import ListedTest

Outcome = Literal["passed", "failed", "refused", "needs tamper", "not run", "not applicable"]

Verdict = Literal["passed", "failed", "partly", "incomplete", "refused", "not declared", "not run"]
"""Of one row: ``passed`` all that applies passed; ``partly`` all but what needs a second path into the store that
was not given; ``incomplete`` nothing failed, but something else did not run; ``refused`` it is not declared, and
refuses as it should; ``not declared`` there is nothing to refuse."""

SUBJECTS = (
    Trait.CORE,
    Trait.STORAGE,
    *Capability,
    Trait.DURABLE,
    Trait.MULTIPROCESS,
    Trait.SCHEMA,
    Trait.NETWORK,
)
"""The rows of a grade, in their order."""


@dataclass
class Result:
    """What became of one test. ``expected`` is the reason of an expected failure."""

    outcome: Outcome
    reason: str = ""
    expected: str = ""


NOT_SELECTED = Result("not run", "it was not selected, or the session ended before it")
"""Of a test of which there is no report."""


@dataclass
class Target:
    """One storage under test: a test class, or one value of its parametrised fixtures.

    ``by_command``: it was named on the command line, and is to be proven as a whole.
    """

    name: str
    by_command: bool = False
    source: str = ""
    backend: str = ""
    declared: set[str] = field(default_factory=set)
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """The grade of one subject; passed, failed, refused, tamper and not_run add up to tests.

    ``tamper`` tests need a second path into the store, which was not given.

    ``declared`` is None when nothing ran that could have told.
    """

    subject: str
    declared: bool | None
    tests: int
    passed: int
    failed: int
    refused: int
    tamper: int
    not_run: int

    @property
    def verdict(self) -> Verdict:
        """The row in a word."""
        if self.failed:
            return "failed"
        unseen = self.tamper + self.not_run
        if self.declared is None or (unseen == self.tests and (self.declared or self.tests)):
            return "not run"
        if self.not_run:
            return "incomplete"
        if self.tamper:
            return "partly"
        if self.declared:
            return "passed"
        return "refused" if self.refused else "not declared"


class Ledger:
    """Collects the reports of a session."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}

    def note(self, report: pytest.TestReport, told: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Take in one phase of one test."""
        by_command = bool(told.get("by_command"))
        target = self.targets.setdefault(told["target"], Target(told["target"], by_command))
        target.source = facts.get("source", target.source)
        target.backend = facts.get("backend", target.backend)
        target.declared.update(facts.get("declared", ()))
        if report.when == "teardown":
            target.left.extend(facts.get("left", ()))
        if (result := _result(report, facts)) is None:
            return
        key = (told["name"], told["case"])
        if (before := target.results.get(key)) is None or before.outcome != "failed":
            target.results[key] = result

    @property
    def failed(self) -> bool:
        """Whether any test of the suite failed."""
        return any(r.outcome == "failed" for t in self.targets.values() for r in t.results.values())


def _result(report: pytest.TestReport, facts: Mapping[str, Any]) -> Result | None:
    """What this phase says about the test; None when it says nothing yet."""
    expected = getattr(report, "wasxfail", None)
    if report.failed:
        return Result("failed", _last_line(report))
    if report.skipped and expected is not None:
        return Result("failed", "as expected", str(expected))
    if report.skipped:
        outcome: Outcome = facts.get("outcome", "not run")
        return Result(outcome, facts.get("reason", _last_line(report)))
    if report.when == "call":
        return Result("refused" if facts.get("outcome") == "refused" else "passed")
    return None


def _last_line(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).partition("\n")[0] if crash else ""


def grade(target: Target, listed: Sequence[ListedTest]) -> list[Row]:
    """One row for each subject that has tests."""
    rows = []
    for subject in SUBJECTS:
        mine = [test for test in listed if test.subject == subject and _applies(test, target)]
        outcomes = Counter(
            target.results[test.name, test.case].outcome
            for test in mine
            if (test.name, test.case) in target.results
        )
        done = sum(outcomes[kind] for kind in ("passed", "failed", "refused", "needs tamper"))
        rows.append(
            Row(
                str(subject),
                subject in target.declared if target.declared else None,
                len(mine),
                outcomes["passed"],
                outcomes["failed"],
                outcomes["refused"],
                outcomes["needs tamper"],
                len(mine) - done,
            )
        )
    return rows


def reasons(target: Target, listed: Sequence[ListedTest]) -> Counter[str]:
    """Why tests that apply did not run, and how many for each reason."""
    found = (_result_of(test, target) for test in listed if _applies(test, target))
    return Counter(one.reason for one in found if one.outcome in ("needs tamper", "not run"))


def is_whole(target: Target, listed: Sequence[ListedTest]) -> bool:
    """Whether every test that applies was there to be run: none was deselected or lost with the session."""
    return NOT_SELECTED.reason not in reasons(target, listed)


def _result_of(test: ListedTest, target: Target) -> Result:
    return target.results.get((test.name, test.case), NOT_SELECTED)


def _applies(test: ListedTest, target: Target) -> bool:
    """Whether the test counts for this target; what the backend promises is unknown before anything ran."""
    result = target.results.get((test.name, test.case))
    if result is not None:
        return result.outcome != "not applicable"
    return not target.declared or all(need in target.declared for need in test.needs)


def as_json(ledger: Ledger, listed: Sequence[ListedTest], seed: int) -> dict[str, Any]:
    """The whole grade as plain JSON."""
    return {
        "format": 1,
        "seed": seed,
        "suite": len(listed),
        "targets": [
            {
                "target": target.name,
                "source": target.source,
                "backend": target.backend,
                "durable": Trait.DURABLE in target.declared,
                "multiprocess": Trait.MULTIPROCESS in target.declared,
                "declared": sorted(target.declared),
                "whole": is_whole(target, listed),
                "grades": [{**asdict(row), "verdict": row.verdict} for row in grade(target, listed)],
                "tests": [
                    {
                        "test": test.id,
                        "clause": test.clause,
                        "subject": test.subject,
                        **asdict(_result_of(test, target)),
                    }
                    for test in listed
                ],
                "left_behind": target.left,
            }
            for target in ledger.targets.values()
        ],
    }
