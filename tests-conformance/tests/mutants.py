"""Mutants: small backends, each wrong in one way that real backends were, and the clause that must catch it.

They derive from ``MemoryStorage``, which is right. ``MUTANTS`` maps the name of each to it; all of them live in the
modules ``mutants_*.py`` beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from oacp_storage_conformance import ClauseName
from oacp_storage_core import MemoryStorage

M = TypeVar("M", bound=type[MemoryStorage])


@dataclass(frozen=True)
class Mutant:
    """A wrong backend, what is wrong with it, and the clauses of which at least one must say so."""

    backend: type[MemoryStorage]
    wrong: str
    clauses: tuple[ClauseName, ...]


MUTANTS: dict[str, Mutant] = {}


def mutant(*clauses: ClauseName) -> Callable[[M], M]:
    """Register a wrong backend; its docstring says what is wrong."""

    def register(backend: M) -> M:
        MUTANTS[backend.__name__] = Mutant(backend, (backend.__doc__ or "").strip(), clauses)
        return backend

    return register
