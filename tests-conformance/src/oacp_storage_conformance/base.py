"""``ConformanceBase``: the fixtures of the suite, and the guard over its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from inspect import getattr_static
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from oacp_storage_conformance.clause import clause_of
from oacp_storage_conformance.place import Place, at
from oacp_storage_conformance.setting import Setting
from oacp_storage_conformance.sources import Source
from oacp_storage_conformance.tamper import Tamper


class ConformanceBase:
    """What ``StorageConformance`` inherits beside its tests.

    A subclass gives ``storage_source``, may give ``storage_tamper`` and ``expected_failures``, and leaves the
    rest as it is: redefining anything else of the suite is a ``TypeError``.
    """

    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Tests that are known to fail: ``{"test_name" or "test_name[case]": reason}``. Each becomes a strict
    xfail, and counts as failed in the grade."""

    shared_place: ClassVar[bool] = False
    """Whether the store at ``storage_source`` may hold other people's data."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__[1:]:
            if base.__dict__.get("_is_the_suite"):
                _guard(cls, base)

    @pytest.fixture
    def storage_source(self) -> Source:
        """Where the storage under test is: a name, URL or mapping as ``open_storage`` takes it.

        For a class that is not installed: a callable that takes options as keywords and returns an instance.
        A backend without namespaces needs a fresh, empty place for each test, under ``tmp_path`` for example.
        """
        raise NotImplementedError("define the fixture storage_source in your test class; it returns a source")

    @pytest.fixture
    def storage_tamper(self) -> Tamper | None:
        """The second path into the store at ``storage_source``, if there is one."""
        return None

    @pytest.fixture
    def setting(
        self, request: pytest.FixtureRequest, storage_source: Source, storage_tamper: Tamper | None
    ) -> Setting:
        """Where this test works. Of the suite's own tests only."""
        return Setting(request, storage_source, storage_tamper, shared=self.shared_place)

    @pytest_asyncio.fixture(loop_scope="function")
    async def place(self, setting: Setting) -> AsyncIterator[Place]:
        """The place with an open storage. Of the suite's own tests only."""
        async with at(setting) as place:
            yield place


def own_tests(cls: type) -> dict[str, Any]:
    """The tests of a class that carry a clause, by name."""
    return {
        name: test
        for name in dir(cls)
        if name.startswith("test") and clause_of(test := getattr(cls, name)) is not None
    }


def _guard(cls: type, suite: type) -> None:
    """Refuse a subclass that changes what the suite proves."""
    tests = own_tests(suite)
    kept = ["setting", "place", *tests]
    if changed := [name for name in kept if getattr_static(cls, name) is not getattr_static(suite, name)]:
        raise TypeError(
            f"{cls.__name__} redefines {', '.join(changed)}: the suite's tests prove the contract only as they "
            "are. Name a known failure in expected_failures = {name: reason} instead"
        )
    known = {*tests, *(f"{name}[{case}]" for name, test in tests.items() for case in _cases(test))}
    expected: Mapping[str, str] = cls.expected_failures  # type: ignore[attr-defined]  # cls is a ConformanceBase
    if unknown := sorted(set(expected) - known):
        raise TypeError(
            f"{cls.__name__}.expected_failures names tests that the suite does not have: {', '.join(unknown)}"
        )
    if empty := sorted(name for name, reason in expected.items() if not reason.strip()):
        raise TypeError(f"{cls.__name__}.expected_failures gives no reason for {', '.join(empty)}")


def _cases(test: Any) -> list[str]:
    clause = clause_of(test)
    return [case for case in clause.needs if case] if clause else []
