"""The README tells of every primitive, and its examples name what there is."""

import ast
import re
from pathlib import Path

import oacp_storage_engine
from oacp_storage_engine import Engine, EngineStorage
from oacp_storage_engine.runtime import Runtime

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_table_names_every_primitive() -> None:
    table = README.partition("| primitive | what it does |")[2].partition("\n\n")[0]
    named = [
        name
        for row in table.splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    ]
    primitives = {
        name for name in vars(Engine) if not name.startswith("_") and callable(getattr(Engine, name))
    }
    assert set(named) == primitives - {"lane_of"}
    optional = {name for name in named if f"`{name}`" in table and "(optional)" in _row_of(table, name)}
    assert primitives - Engine.__abstractmethods__ - {"lane_of"} <= optional | {"drop_covered"}


def test_the_examples_use_what_there_is() -> None:
    assert len(EXAMPLES) == 3
    for example in EXAMPLES:
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom) and node.module == "oacp_storage_engine":
                for name in node.names:
                    assert hasattr(oacp_storage_engine, name.name)
    assert hasattr(EngineStorage, "_call")
    assert hasattr(EngineStorage, "_make_engine")
    assert callable(Runtime.read)


def _row_of(table: str, name: str) -> str:
    return next(row for row in table.splitlines() if f"`{name}`" in row)
