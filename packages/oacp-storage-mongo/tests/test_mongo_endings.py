"""Loops that end and processes that fork with the storage open: nothing is left unclosed, and nothing is shared."""

from __future__ import annotations

import pytest

from mongo_testing import name_of
from oacp_storage_conformance.endings import PROGRAMS, assert_nothing_is_left_unclosed
from oacp_storage_conformance.servers import MongoServer


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_nothing_is_left_unclosed(
    oacp_mongo_server: MongoServer, program: str, driver: str, request: pytest.FixtureRequest
) -> None:
    options = f"{oacp_mongo_server.url!r}, namespace={name_of(request)!r}, driver={driver!r}"
    make = f"oacp_storage_mongo.MongoStorage({options})"
    assert_nothing_is_left_unclosed(program, module="oacp_storage_mongo", make=make)
