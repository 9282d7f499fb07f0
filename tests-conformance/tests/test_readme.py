"""The guide says what is there, and its examples work."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from oacp_storage_conformance import Tamper
from pytest_runs import run_pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_example_works_as_it_stands(tmp_path):
    pytest.importorskip("oacp_storage_sqlite", reason="the example uses the SQLite backend")
    run = run_pytest(tmp_path, EXAMPLES[0], "-k", "limit_of_zero")
    assert run.status == 0, run.output
    assert run.target["backend"] == "SQLiteStorage"


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_runs(example):
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(
        f"import pytest\nfrom oacp_storage_conformance import StorageConformance\n{example}",
        "README.md",
        "exec",
        flags,
    )
    if "await" not in example:
        exec(code, {"__name__": "example"})


def test_every_method_of_the_tamper_is_explained():
    methods = {name for name, value in vars(Tamper).items() if callable(value)}
    assert methods == set(
        re.findall(r"`(\w+)\([^`]*\)`", README.partition("| method |")[2].partition("Leave out")[0])
    )


def test_every_option_is_explained(pytestconfig):
    plugin = pytestconfig.pluginmanager.get_plugin("oacp_storage_conformance")
    offered = set(re.findall(r'"(--oacp-storage[a-z-]*)"', Path(plugin.__file__).read_text(encoding="utf-8")))
    assert offered
    assert offered == set(re.findall(r"^\| `(--[a-z-]+)", README, re.MULTILINE))
