"""The pytest plugin: options, markers, what failures say, and the grade at the end.

It is loaded in every pytest session of an environment that has the suite installed, so it imports nothing
but pytest; the rest comes when there are tests of the suite.
"""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oacp_storage_conformance.exits import PARTIAL

if TYPE_CHECKING:
    from oacp_storage_conformance.grading import Ledger

TEST = "oacp_storage_test"
"""The report property that says which test of the suite a report is about."""

FACTS = "oacp_storage_facts"
"""The report property that carries what a test found out about its target."""

# By submodules: the package itself is imported by now, and before pytest 9.1 naming it is a warning.
pytest.register_assert_rewrite(
    *(f"oacp_storage_conformance.{name}" for name in ("clauses", "place", "reference", "soaking", "workers"))
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite; all begin with ``--oacp-storage``."""
    group = parser.getgroup("oacp-storage-conformance", "conformance suite of oacp-storage")
    group.addoption(
        "--oacp-storage",
        metavar="STORAGE",
        dest="oacp_storage_source",
        help="the storage to prove with `--pyargs oacp_storage_conformance`: a configured name or a URL",
    )
    group.addoption(
        "--oacp-storage-json",
        metavar="FILE",
        dest="oacp_storage_json",
        help="write the grade to FILE as JSON",
    )
    group.addoption(
        "--oacp-storage-seed",
        metavar="N",
        dest="oacp_storage_seed",
        type=int,
        default=random.SystemRandom().randrange(2**32),
        help="the seed of random sequences; the one in use is printed",
    )
    group.addoption(
        "--oacp-storage-derandomize",
        dest="oacp_storage_derandomize",
        action="store_true",
        help="the same random sequences in every session",
    )
    group.addoption(
        "--oacp-storage-examples",
        metavar="N",
        dest="oacp_storage_examples",
        type=int,
        default=25,
        help="how many random sequences each test tries (default: 25)",
    )
    group.addoption(
        "--oacp-storage-seconds",
        metavar="S",
        dest="oacp_storage_seconds",
        type=float,
        default=1.5,
        help="how long each test with several writing processes writes (default: 1.5 seconds)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that the suite's tests carry, and begin the grade."""
    config.addinivalue_line(
        "markers", "oacp_storage_clause(name): the clause of the contract that a test proves"
    )
    config.pluginmanager.register(Graded(config), "oacp_storage_grade")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say in each report which test of the suite it is about, and mark the failures that are expected."""
    clause = getattr(getattr(item, "function", None), "oacp_storage_clause", None)
    if clause is None or not isinstance(item, pytest.Function) or item.cls is None:
        return
    name = item.originalname
    callspec = getattr(item, "callspec", None)
    case = clause.case_named(callspec.params) if callspec else ""
    indices = {key: index for key, index in callspec.indices.items() if key != "case"} if callspec else {}
    target = item.nodeid.rpartition("::")[0]
    if indices:  # the class's own fixtures are parametrised: each of their values is a target of its own
        target += "[" + ", ".join(f"{key} {value}" for key, value in sorted(indices.items())) + "]"
    told = {
        "target": target,
        "name": name,
        "case": case,
        "clause": str(clause.name),
        "subject": str(clause.subjects[case]),
        "asks": clause.asks,
        "look": clause.look,
        "by_command": bool(getattr(item.cls, "from_command_line", False)),
    }
    item.user_properties.append((TEST, told))
    expected = getattr(item.cls, "expected_failures", {})
    reason = expected.get(f"{name}[{case}]" if case else name) or expected.get(name)
    if reason:
        item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to run the suite from the command line without a storage."""
    if config.getoption("oacp_storage_source") is None and any(
        getattr(getattr(item, "cls", None), "from_command_line", False) for item in items
    ):
        raise pytest.UsageError("no storage to prove: give --oacp-storage URL (or a configured name)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put what the contract asks, and where to look, into every failure of the suite."""
    report = yield
    told = _property(item, TEST)
    if told is None or not report.failed:
        return report
    add_section = getattr(report.longrepr, "addsection", None)
    if add_section is not None:
        text = f"{told['asks']}\nLook at: {told['look']}"
        add_section(f"the contract: {told['clause']} ({told['subject']})", text, "-")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = f"[{told['clause']}] {crash.message}"
    return report


class Graded:
    """Collects the reports of one session, and tells the grade at its end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.ledger: Ledger | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the report into the grade."""
        told = _property(report, TEST)
        if told is None:
            return
        if self.ledger is None:
            from oacp_storage_conformance.grading import Ledger

            self.ledger = Ledger()
        self.ledger.note(report, told, _property(report, FACTS) or {})

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the grade where ``--oacp-storage-json`` says, and let no part pass for the whole."""
        if self.ledger is None or hasattr(self.config, "workerinput"):
            return
        from oacp_storage_conformance.grading import as_json, is_whole
        from oacp_storage_conformance.listing import suite_tests

        named = [target for target in self.ledger.targets.values() if target.by_command]
        if session.exitstatus == 0 and not all(is_whole(target, suite_tests()) for target in named):
            session.exitstatus = PARTIAL
        path = self.config.getoption("oacp_storage_json")
        if path is None:
            return
        told = as_json(self.ledger, suite_tests(), self.config.getoption("oacp_storage_seed"))
        Path(path).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the grade."""
        if self.ledger is None:
            return
        from oacp_storage_conformance.listing import suite_tests
        from oacp_storage_conformance.table import render

        terminal = terminalreporter
        terminal.write_sep("=", "oacp-storage conformance")
        for target in self.ledger.targets.values():
            width = terminal._tw.fullwidth  # noqa: SLF001 - the terminal that pytest writes to, which has no public name
            terminal.write_line(render(target, suite_tests(), width=width, color=terminal.hasmarkup))
            for left in target.left:
                terminal.write_line(f"could not be removed: {left}")
        terminal.write_line(
            f"random sequences used --oacp-storage-seed={self.config.getoption('oacp_storage_seed')}"
        )


def _property(about: Any, name: str) -> dict[str, Any] | None:
    for key, value in about.user_properties:
        if key == name:
            found: dict[str, Any] = value
            return found
    return None
