"""Loops that end and processes that fork with the storage open: nothing is left unclosed, and nothing is shared."""

from __future__ import annotations

import pytest

from oacp_storage_conformance.endings import PROGRAMS, assert_nothing_is_left_unclosed


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_nothing_is_left_unclosed(database: str, program: str) -> None:
    make = f"oacp_storage_postgres.PostgreSQLStorage({database!r})"
    assert_nothing_is_left_unclosed(program, module="oacp_storage_postgres", make=make)
