"""Importing the core is cheap: what only some need is imported when they need it.

How long it takes is measured by ``benchmarks/lookup.py``; here stands what keeps it so.
"""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

LATE = {
    "csv",
    "dataclasses",
    "difflib",
    "email",
    "http",
    "importlib_metadata",
    "pluggy",
    "sqlite3",
    "tempfile",
    "tomllib",
    "urllib",
    "zipfile",
}
"""What costs milliseconds, or may be missing or broken in somebody's environment."""

LATE_OF_OURS = {
    "adapter",
    "config",
    "construct",
    "entry_points",
    "hooks",
    "memory",
    "options",
    "registry",
    "sources",
    "sync",
    "toml_file",
    "typed_values",
    "urls",
    "wrapper",
}


def imported_by(statement: str, tmp_path, after: str = "import asyncio") -> set[str]:
    """The modules that a statement brings in addition to those of ``after``, in a fresh process."""
    code = f"import sys\n{after}\nbefore = set(sys.modules)\n{statement}\nprint(*sorted(set(sys.modules) - before))"
    run = subprocess.run(
        [sys.executable, "-c", dedent(code)], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import oacp_storage_core", "from oacp_storage_core import Storage, StorageError"]
)
def test_importing_the_core_imports_nothing_that_can_wait(statement, tmp_path) -> None:
    imported = imported_by(statement, tmp_path)
    assert "oacp_storage_core.storage" in imported
    assert not {name for name in imported if name.partition(".")[0] in LATE}
    assert not imported & {f"oacp_storage_core.{name}" for name in LATE_OF_OURS}


def test_a_backend_of_ones_own_needs_no_lookup(tmp_path) -> None:
    imported = imported_by("from oacp_storage_core import MemoryStorage; MemoryStorage()", tmp_path)
    assert "oacp_storage_core.memory" in imported
    assert not imported & {"importlib_metadata", "pluggy", "tomllib", "oacp_storage_core.registry"}


def test_looking_up_a_backend_imports_only_what_that_needs(tmp_path) -> None:
    imported = imported_by("from oacp_storage_core import load_backend; load_backend('memory')", tmp_path)
    assert "importlib_metadata" in imported
    assert not imported & {"pluggy", "tomllib", "oacp_storage_core.hooks", "oacp_storage_core.config"}


def test_every_public_name_can_be_had(tmp_path) -> None:
    code = """
        import oacp_storage_core
        for name in oacp_storage_core.__all__:
            getattr(oacp_storage_core, name)
        assert set(oacp_storage_core.__all__) <= set(dir(oacp_storage_core))
        try:
            oacp_storage_core.nothing
        except AttributeError as exc:
            assert "has no attribute 'nothing'" in str(exc)
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True, cwd=tmp_path)
