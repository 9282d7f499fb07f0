"""The suite's own list of its tests, against which every grade is counted."""

from __future__ import annotations

from typing import NamedTuple

from oacp_storage_conformance.base import own_tests
from oacp_storage_conformance.clause import ClauseName, Subject, clause_of


class ListedTest(NamedTuple):
    """One test of the suite; ``case`` is ``""`` where it has no variants."""

    name: str
    case: str
    clause: ClauseName
    subject: Subject
    needs: tuple[Subject, ...]
    tamper: bool

    @property
    def id(self) -> str:
        """The name as pytest shows it: ``test_name[case]``."""
        return f"{self.name}[{self.case}]" if self.case else self.name


def suite_tests() -> list[ListedTest]:
    """Every test of ``StorageConformance``, one entry for each of its cases."""
    from oacp_storage_conformance.suite import StorageConformance

    listed: list[ListedTest] = []
    for name, test in own_tests(StorageConformance).items():
        if (clause := clause_of(test)) is not None:
            listed.extend(
                ListedTest(name, case, clause.name, clause.subjects[case], needs, clause.tamper)
                for case, needs in clause.needs.items()
            )
    return listed
