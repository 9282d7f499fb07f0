"""``oacp-storage conformance STORAGE``: the suite as a command, for a storage that is there already."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from oacp_storage_conformance.exits import PARTIAL
from oacp_storage_core import MemoryStorage, StorageError, StorageUsageError

app = App(
    name="conformance",
    help="Prove that a storage keeps the contract, and grade it.",
    help_format="plaintext",
    result_action="return_value",
)

_STATUS = {0: 0, 1: 1, 2: 130, PARTIAL: 4}
"""Exit statuses of pytest as those of ``oacp-storage``: proven, something failed, interrupted, not everything was
run; else 3."""


@app.default
def conformance(
    storage: str,
    /,
    *,
    json: Path | None = None,
    only: Annotated[str | None, Parameter(alias="-k")] = None,
    seed: int | None = None,
    examples: int | None = None,
    seconds: float | None = None,
) -> int:
    """Run the whole suite against a storage; the exit status is 0 when everything that can be run here passed.

    It is 1 when something failed, and 4 when nothing did but only a part was run. Works in namespaces (or, where
    there are none, under agents) named conformance-... and removes them; other data is not touched. Tests that need
    a second path into the store, and so would damage it, are counted apart: write a test class for them.

    Parameters
    ----------
    storage
        A URL, or a storage named in oacp.toml.
    json
        Write the grade to this file as JSON.
    only
        Run only the tests whose names match this expression of pytest's; the others count as not run.
    seed
        Repeat the random sequences of an earlier run.
    examples
        How many random sequences each test tries.
    seconds
        How long the tests with several writing processes write.
    """
    asyncio.run(_can_be_opened(storage))
    arguments = ["--oacp-storage", storage]
    for option, value in (
        ("json", json and json.resolve()),
        ("seed", seed),
        ("examples", examples),
        ("seconds", seconds),
    ):
        if value is not None:
            arguments += [f"--oacp-storage-{option}", str(value)]
    if only is not None:
        arguments += ["-k", only]
    return _STATUS.get(_pytest(arguments), 3)


async def _can_be_opened(storage: str) -> None:
    """One error now instead of one for each test."""
    from oacp_storage_conformance.sources import build

    async with build(storage) as first, build(storage) as second:
        one = [each._data for each in (first, second) if isinstance(each, MemoryStorage)]  # noqa: SLF001 - nothing public tells
        if len(one) == 2 and one[0] is not one[1]:
            raise StorageUsageError(
                f"{storage} gives each instance a store of its own, and the suite needs several instances of one "
                "store: name it, as in memory://conformance"
            )


def _pytest(arguments: list[str]) -> int:
    """Run pytest on the suite alone: with its own ini, and with no plugins but those it needs."""
    import pytest

    here = Path(__file__).parent
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    with tempfile.TemporaryDirectory(prefix="oacp-storage-conformance-") as scratch:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
        return int(
            pytest.main(
                [
                    *("-c", str(here / "conformance.ini"), "--rootdir", str(here)),
                    *("-p", "pytest_asyncio.plugin", "-p", "oacp_storage_conformance.plugin"),
                    *arguments,
                    str(here / "test_storage.py"),
                ]
            )
        )


def main() -> int:
    """The command on its own: ``python -m oacp_storage_conformance.command STORAGE``."""
    try:
        return int(app())
    except StorageError as exc:
        print(f"conformance: {exc}", file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return 2


if __name__ == "__main__":
    sys.exit(main())
