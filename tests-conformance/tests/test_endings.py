"""The check that nothing is left unclosed sees what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from oacp_storage_conformance.endings import PROGRAMS, assert_nothing_is_left_unclosed


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_a_good_storage_passes(program: str, tmp_path: Path) -> None:
    make = f"oacp_storage_file.FileStorage({str(tmp_path / 'data')!r})"
    assert_nothing_is_left_unclosed(program, module="oacp_storage_file", make=make)


@pytest.mark.parametrize(
    "left",
    [
        "open(os.devnull)",
        "asyncio.new_event_loop()",
        "socket.socket()",
    ],
)
def test_what_is_left_is_told(left: str) -> None:
    program = f"import socket\nleft = {left}\ndel left\nprint(3)"
    with pytest.raises(AssertionError, match="ResourceWarning"):
        assert_nothing_is_left_unclosed(program, module="socket", make="None")
