"""``@clause``: ties a test to the sentence of the contract that it proves.

A test's docstring is its message: the first paragraph says what the contract asks, the paragraph that begins
with ``Look at:`` where an author should look when it fails. The plugin adds both to every failure.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar

import pytest

from oacp_storage_core import Capability

F = TypeVar("F", bound=Callable[..., Any])

MARKER = "oacp_storage_clause"
TEST_SECONDS = 120.0
"""An asynchronous test that takes longer hangs, and fails."""


class Trait(StrEnum):
    """What a backend may promise beside its capabilities; the grade has a row for each."""

    CORE = "core"
    """What every backend keeps, the one with only four methods too."""

    STORAGE = "storage"
    """It is a ``Storage`` itself, not four methods in core's adapter: what binds those whatever they declare."""

    DURABLE = "durable"
    """Acknowledged data survives the process (the class attribute ``durable``)."""

    MULTIPROCESS = "multiprocess"
    """Several processes may use the store at once (the class attribute ``multiprocess``)."""

    SCHEMA = "schema"
    """The store carries a schema version, which ``health()`` tells."""

    NETWORK = "network"
    """The store is reached over connections that can be lost (``Tamper.network``)."""


Subject = Capability | Trait
"""What a test is counted under in the grade."""


class ClauseName(StrEnum):
    """The clauses of the contract, by the name under which failures and grades show them."""

    INTERFACE = "Interface"
    CAPABILITIES = "Capabilities"
    IDEMPOTENCY = "Idempotency"
    BATCHES = "Batches"
    HISTORY = "History"
    IMPORT = "Import"
    HEALTH = "Health"
    ORDER = "Order"
    TIME = "Time"
    DURABILITY = "Acknowledged means durable"
    OUTCOME = "Outcome unknown"
    VERSIONS = "Versions"
    TURNS = "Turns"
    SIZES = "Sizes"
    DELETION = "Deletion"
    WATCH = "Watch"
    WHERE = "Where"
    PAYLOADS = "Payloads"
    NAMES = "Names"
    TENANTS = "Tenants"
    CANCELLATION = "Cancellation"
    CONCURRENCY = "Concurrency"
    LOOPS = "Loops and forks"
    ERRORS = "Errors"
    DAMAGE = "Damage"
    SCHEMA = "Schema"
    REFERENCE = "Like the reference"


@dataclass(frozen=True)
class Clause:
    """What the suite knows of one of its tests.

    ``needs`` maps each variant (``""`` for a test without variants) to the capabilities and traits without
    which it does not apply, ``subjects`` to what it is counted under. ``tamper``: it needs a second path into
    the store. ``alone``: it needs a place that holds nothing else, because it acts on the whole of it.
    """

    name: ClauseName
    asks: str
    look: str
    needs: Mapping[str, tuple[Subject, ...]]
    subjects: Mapping[str, Subject]
    tamper: bool
    alone: bool
    cases: Mapping[str, Any]

    def case_named(self, values: Mapping[str, Any]) -> str:
        """The name of the case among the parameters of a collected test, ``""`` where there is none."""
        # By identity: pytest's own indices are those of the whole product of parameters.
        return next((name for name, value in self.cases.items() if value is values.get("case")), "")


def clause(
    name: ClauseName,
    *needs: Subject,
    tamper: bool = False,
    alone: bool = False,
    cases: Mapping[str, Any] | None = None,
    seconds: float = TEST_SECONDS,
) -> Callable[[F], F]:
    """Declare a test of the suite.

    ``needs`` are the capabilities and traits that it takes; the first is the one it is counted under, CORE
    when there is none. ``cases`` become the values of the argument ``case``, by name; a case may bring its
    own ``needs`` and ``subject`` as attributes. An asynchronous test fails after ``seconds``.
    """

    def declare(test: F) -> F:
        asks, look = _message(test)
        per_case = {
            case_id: (*needs, *getattr(case, "needs", ())) for case_id, case in (cases or {"": None}).items()
        }
        subjects = {
            case_id: getattr(case, "subject", None) or (*per_case[case_id], Trait.CORE)[0]
            for case_id, case in (cases or {"": None}).items()
        }
        declared: Any = _limited(test, seconds) if inspect.iscoroutinefunction(test) else test
        declared.oacp_storage_clause = Clause(
            name, asks, look, per_case, subjects, tamper, alone, cases or {}
        )
        if inspect.iscoroutinefunction(test):
            declared = pytest.mark.asyncio(loop_scope="function")(declared)
        if cases:
            declared = pytest.mark.parametrize("case", list(cases.values()), ids=list(cases))(declared)
        marked: F = getattr(pytest.mark, MARKER)(str(name))(declared)
        return marked

    return declare


def clause_of(test: object) -> Clause | None:
    """The clause of a test function or method, None when it is not one of the suite."""
    found = getattr(test, "oacp_storage_clause", None)
    return found if isinstance(found, Clause) else None


def _message(test: Callable[..., Any]) -> tuple[str, str]:
    text = inspect.getdoc(test) or ""
    asks, _, look = text.partition("Look at:")
    if not asks.strip() or not look.strip():
        raise TypeError(f"{test.__qualname__}: the docstring needs what the contract asks and a 'Look at:'")
    return " ".join(asks.split()), " ".join(look.split())


def _limited(test: F, seconds: float) -> F:
    """The test with an end to its patience, so that a backend that hangs fails instead."""

    @wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await test(*args, **kwargs)
        except TimeoutError:
            if not limit.expired():
                raise
            raise AssertionError(f"the test did not end within {seconds:g} s: a call hangs") from None

    return limited  # type: ignore[return-value]  # same signature, and pytest sees the original by __wrapped__
