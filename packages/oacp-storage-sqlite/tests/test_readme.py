"""The README says what is so: its examples run, and its table of options is the signature."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from oacp_storage_sqlite import SQLiteStorage
from sqlite_testing import plain, run_python

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_options_are_those_of_the_class() -> None:
    table = README.partition("## Options")[2].partition("## Files")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE))
    parameters = inspect.signature(SQLiteStorage).parameters.values()
    assert told == {one.name: repr(one.default).replace("'", '"') for one in parameters}


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert run_python(program) == "[{'role': 'user', 'content': 'hello'}]\n"
    (queries,) = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    with plain(tmp_path / "agents.db") as connection:
        found = [connection.execute(query).fetchall() for query in queries.split(";") if query.strip()]
    assert found[0][0][::2] == (1, '{"role":"user","content":"hello"}')
    assert found[1:] == [[("alice", None, 1)]]
