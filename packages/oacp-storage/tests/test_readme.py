"""The README tells of every command, option, status and field, and its examples work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from oacp_storage.cli import COMMANDS, TRACEBACK, make_app
from oacp_storage.exits import Status

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = [token for token in MarkdownIt().parse(README) if token.type in {"fence", "code_block"}]


def section(command: str) -> str:
    found = re.search(rf"^### `oacp-storage {command}\b.*?(?=^##)", README, re.DOTALL | re.MULTILINE)
    assert found is not None, f"the README has no section on {command}"
    return found[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_and_option_is_documented(command: str) -> None:
    text = section(command)
    arguments = make_app()[command].assemble_argument_collection()
    for argument in arguments:
        for name in argument.names:
            assert re.search(rf"{re.escape(name)}\b", text), f"{name} of {command} is not in the README"
    documented = set(re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE))
    assert documented == {name for argument in arguments for name in argument.names if name.startswith("--")}


def test_every_section_is_of_a_command() -> None:
    sections = re.findall(r"^### `oacp-storage ([a-z]+)", README, re.MULTILINE)
    assert sections == list(COMMANDS)


def test_every_status_is_documented() -> None:
    documented = re.findall(r"^\| (\d+) \|", README, re.MULTILINE)
    assert list(map(int, documented)) == [status.value for status in Status]
    assert TRACEBACK in README


def test_the_command_lines_can_be_parsed() -> None:
    lines = [
        line for block in BLOCKS for line in block.content.splitlines() if line.startswith("oacp-storage ")
    ]
    assert len(lines) >= 6
    app = make_app()
    for line in lines:
        app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_the_programs_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    programs = [block.content for block in BLOCKS if block.info == "python"]
    assert len(programs) == 2
    for program in programs:
        source = program.replace("/tmp/agents", f"{tmp_path}/agents")
        exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out == "[{'role': 'user', 'content': 'hello'}]\n"
    assert sorted(path.name for path in tmp_path.iterdir() if "-" not in path.name) == ["agents", "agents.db"]
