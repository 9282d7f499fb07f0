"""Loops that end and processes that fork with the storage open: nothing is left unclosed, and nothing is shared."""

from __future__ import annotations

import pytest

from oacp_storage_conformance.endings import PROGRAMS, assert_nothing_is_left_unclosed
from oacp_storage_conformance.servers import RedisServer


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_nothing_is_left_unclosed(
    oacp_redis_server: RedisServer, program: str, request: pytest.FixtureRequest
) -> None:
    namespace = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    make = f"oacp_storage_redis.RedisStorage({oacp_redis_server.url!r}, namespace={namespace!r})"
    assert_nothing_is_left_unclosed(program, module="oacp_storage_redis", make=make)
