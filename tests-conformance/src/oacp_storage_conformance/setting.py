"""``Setting``: where a test works, what applies there, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import pytest

from oacp_storage_conformance.clause import Subject, Trait, clause_of
from oacp_storage_conformance.sources import Source, build, shown, to_plain
from oacp_storage_conformance.tamper import Tamper
from oacp_storage_core import Capability, Storage
from oacp_storage_core.adapter import AdaptedStorage

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from oacp_storage_conformance.place import Place

FACTS = "oacp_storage_facts"
"""The report property that carries what a test found out about its target to the grade."""


class Setting:
    """The source of a test and the part of the store that the test may use.

    Where the backend declares NAMESPACES, each test works in a new namespace ``conformance-...`` and removes
    what it wrote. Otherwise it relies on the fixture ``storage_source`` for a fresh place; a store given on
    the command line is not fresh, so there it uses agents ``conformance-...`` only, and tests that act on the
    whole place do not run.
    """

    def __init__(
        self, request: pytest.FixtureRequest, source: Source, tamper: Tamper | None, *, shared: bool
    ) -> None:
        clause = clause_of(request.function)
        if clause is None:
            raise TypeError(f"{request.node.nodeid} uses a fixture that is the suite's own")
        self.clause = clause
        self.source = source
        self.shared = shared
        self.seed = int(request.config.getoption("oacp_storage_seed"))
        self.derandomize = bool(request.config.getoption("oacp_storage_derandomize"))
        self.examples = int(request.config.getoption("oacp_storage_examples"))
        self.seconds = float(request.config.getoption("oacp_storage_seconds"))
        self._request = request
        self._tamper = tamper
        self._token = uuid4().hex[:12]
        self._leftovers: list[str] = []
        bare = build(source)
        self.namespace = f"conformance-{self._token}" if Capability.NAMESPACES in bare.capabilities else None
        self.namespaces = [] if self.namespace is None else [self.namespace]
        self._case = _case_of(request)
        self._facts: dict[str, Any] = {"source": shown(source)}
        request.node.user_properties.append((FACTS, self._facts))
        self._require(bare)

    # --- what applies -------------------------------------------------------------------------------------

    def settle(self, storage: Storage) -> None:
        """Look again once the storage is open, when its capabilities are final."""
        self._require(storage)

    def _require(self, storage: Storage) -> None:
        declared: set[Subject] = {*storage.capabilities, Trait.CORE}
        if not isinstance(storage, AdaptedStorage):
            declared.add(Trait.STORAGE)
        if storage.durable:
            declared.add(Trait.DURABLE)
        if storage.multiprocess:
            declared.add(Trait.MULTIPROCESS)
        if self._tamper is not None and self._tamper.network:
            declared.add(Trait.NETWORK)
        self._facts["declared"] = sorted(map(str, declared))  # plain text, so that pytest-xdist can send it
        self._facts["backend"] = type(storage).__name__
        for needed in self.clause.needs[self._case]:
            if needed is not Trait.SCHEMA and needed not in declared:
                self.does_not_apply(f"{needed} is not declared")
        if self.clause.tamper and Trait.SCHEMA not in self.clause.needs[self._case]:
            self.tamper  # noqa: B018 - ends the test early where there is none
        if self.clause.alone and self.shared and self.namespace is None:
            self.cannot_run("it acts on the whole place, and this store may hold other data")

    def does_not_apply(self, reason: str) -> NoReturn:
        """End the test: it speaks of something that this backend does not promise."""
        self._facts["outcome"] = "not applicable"
        self._facts["reason"] = reason
        pytest.skip(f"does not apply: {reason}")

    def cannot_run(self, reason: str) -> NoReturn:
        """End the test: it applies, but cannot be run here; the grade counts it as not run."""
        self._facts["outcome"] = "not run"
        self._facts["reason"] = reason
        pytest.skip(f"not run: {reason}")

    def needs_tamper(self, what: str) -> NoReturn:
        """End the test: it applies, but there is no such second path into the store; the grade counts it apart."""
        self._facts["outcome"] = "needs tamper"
        self._facts["reason"] = f"it needs {what}"
        pytest.skip(f"not run: it needs {what}")

    def declare(self, trait: Trait) -> None:
        """Note a trait that only an open storage tells."""
        self._facts["declared"] = sorted({*self._facts["declared"], str(trait)})

    def refused(self) -> None:
        """Note that the test saw a refusal that the contract asks for."""
        self._facts["outcome"] = "refused"

    # --- building and naming ------------------------------------------------------------------------------

    def build(self, **options: Any) -> Storage:
        """A new storage at this place, not opened."""
        return build(self.source, **{**self.options, **options})

    def another_namespace(self) -> str:
        """One more namespace of the suite's own."""
        self.namespaces.append(f"conformance-{self._token}-{len(self.namespaces)}")
        return self.namespaces[-1]

    @property
    def options(self) -> dict[str, Any]:
        """The options that make a storage work at this place."""
        return {} if self.namespace is None else {"namespace": self.namespace}

    @property
    def prefix(self) -> str:
        """What all names begin with, where the place is shared and there are no namespaces."""
        return f"conformance-{self._token}-" if self.shared and self.namespace is None else ""

    def name(self, label: str) -> str:
        """A name at this place for the label, which is the label itself wherever that is possible."""
        if not self.prefix:
            return label
        name = self.prefix + label
        while len(name.encode()) > 512:
            name = name[:-1]
        return name

    def open(self) -> AbstractAsyncContextManager[Place]:
        """The place with an open storage, for a test that runs its own event loop."""
        from oacp_storage_conformance.place import at

        return at(self)

    @property
    def declared(self) -> frozenset[str]:
        """The capabilities and traits that apply here."""
        return frozenset(self._facts["declared"])

    @property
    def plain_source(self) -> Any:
        """The source as JSON, for other processes; the test counts as not run if they could not use it."""
        try:
            return to_plain(self.source)
        except ValueError as exc:
            self.cannot_run(str(exc))

    # --- tampering and tidying ----------------------------------------------------------------------------

    @property
    def tamper(self) -> Tamper:
        """The second path into the store; the test counts as not run where there is none."""
        if self._tamper is None:
            self.needs_tamper("the fixture storage_tamper")
        return self._tamper

    @property
    def tidy(self) -> bool:
        """Whether what the test wrote can be removed; what was tampered with cannot."""
        own = self.namespace is not None or self.shared  # else the place is thrown away as a whole
        return own and Capability.AGENTS in self.declared and not self.clause.tamper

    def leave_behind(self, what: str) -> None:
        """Note something that could not be removed, for the end of the session."""
        self._facts.setdefault("left", []).append(what)


def tampered(setting: Setting, change: str, *args: Any, **kwargs: Any) -> Any:
    """Call the tamper's method ``change``; the test counts as not run where the tamper lacks it."""
    try:
        return getattr(setting.tamper, change)(*args, **kwargs)
    except NotImplementedError as exc:
        setting.needs_tamper(f"{exc} of storage_tamper")


def _case_of(request: pytest.FixtureRequest) -> str:
    clause, callspec = clause_of(request.function), getattr(request.node, "callspec", None)
    return "" if clause is None or callspec is None else clause.case_named(callspec.params)
