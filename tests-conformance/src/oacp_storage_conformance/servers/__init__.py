"""Real servers for tests: found, started on loopback, and ended with the session whatever happens to it.

Opt in with ``pytest_plugins = ["oacp_storage_conformance.servers"]`` in a root ``conftest.py``. Each fixture
is session-scoped, synchronous, and yields an object with a ``url``:

==========================  ==================================================  ======================
fixture                     yields                                              environment variable
==========================  ==================================================  ======================
``oacp_postgres_server``    ``PostgresServer``                                  OACP_TEST_POSTGRES_URL
``oacp_postgres_servers``   a ``PostgresServer`` of each version at hand        (none)
``oacp_redis_server``       ``RedisServer`` (Redis, AOF synced at every write)  OACP_TEST_REDIS_URL
``oacp_redis_6_server``     ``RedisServer`` (Redis 6.2, likewise)               OACP_TEST_REDIS_6_URL
``oacp_valkey_server``      ``RedisServer`` (Valkey, likewise)                  OACP_TEST_VALKEY_URL
``oacp_redis_cluster``      ``RedisCluster`` of three masters                   (none)
``oacp_mongo_server``       ``MongoServer``: a replica set of one node          OACP_TEST_MONGO_URL
``oacp_mongo_replica_set``  ``MongoServer``: a replica set of three nodes       (none)
==========================  ==================================================  ======================

A server named by an environment variable is used as it is and never started, stopped or emptied. Otherwise
the program is looked for on the PATH, then in the pip wheels that carry it. Where there is none, tests that ask for
the fixture are skipped with the reason; where ``CI`` is ``true`` they fail.

``Proxy`` stands between a storage and its server and cuts, holds or encrypts what passes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from oacp_storage_conformance.servers.mongo import MongoServer
from oacp_storage_conformance.servers.postgres import PostgresServer
from oacp_storage_conformance.servers.process import ServerMissing
from oacp_storage_conformance.servers.proxy import Proxy, once
from oacp_storage_conformance.servers.redis import RedisCluster, RedisServer

__all__ = [
    "MongoServer",
    "PostgresServer",
    "Proxy",
    "RedisCluster",
    "RedisServer",
    "ServerMissing",
    "missing",
    "once",
]


def missing(reason: str) -> None:
    """Skip the test that needs a server which is not at hand; fail it where ``CI`` is true."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason} (and CI is true, where a missing server is a failure)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def oacp_postgres_server() -> Iterator[PostgresServer]:
    """The first PostgreSQL at hand."""
    try:
        server = PostgresServer.from_environment() or PostgresServer(PostgresServer.find()[0])
    except ServerMissing as exc:
        missing(str(exc))
        return
    with server:
        yield server


@pytest.fixture(scope="session")
def oacp_postgres_servers() -> Iterator[list[PostgresServer]]:
    """A running PostgreSQL of every version at hand, the newest first."""
    try:
        servers = [PostgresServer(directory) for directory in PostgresServer.find()]
    except ServerMissing as exc:
        missing(str(exc))
        return
    with ExitStack() as running:
        yield [running.enter_context(server) for server in servers]


@pytest.fixture(scope="session")
def oacp_redis_server() -> Iterator[RedisServer]:
    """A Redis whose append-only file is synced at every write."""
    yield from _redis("redis")


@pytest.fixture(scope="session")
def oacp_redis_6_server() -> Iterator[RedisServer]:
    """A Redis 6.2 whose append-only file is synced at every write."""
    yield from _redis("redis_6")


@pytest.fixture(scope="session")
def oacp_valkey_server() -> Iterator[RedisServer]:
    """A Valkey whose append-only file is synced at every write."""
    yield from _redis("valkey")


@pytest.fixture(scope="session")
def oacp_redis_cluster() -> Iterator[RedisCluster]:
    """Three Redis masters that share the slots."""
    try:
        cluster = RedisCluster()
    except ServerMissing as exc:
        missing(str(exc))
        return
    with cluster:
        yield cluster


@pytest.fixture(scope="session")
def oacp_mongo_server() -> Iterator[MongoServer]:
    """A MongoDB replica set of one node."""
    yield from _mongo(nodes=1)


@pytest.fixture(scope="session")
def oacp_mongo_replica_set() -> Iterator[MongoServer]:
    """A MongoDB replica set of three nodes."""
    yield from _mongo(nodes=3)


def _redis(flavour: str) -> Iterator[RedisServer]:
    try:
        server = RedisServer.from_environment(flavour) or RedisServer(flavour)
    except ServerMissing as exc:
        missing(str(exc))
        return
    with server:
        yield server


def _mongo(nodes: int) -> Iterator[MongoServer]:
    try:
        server = (MongoServer.from_environment() if nodes == 1 else None) or MongoServer(nodes)
    except ServerMissing as exc:
        missing(str(exc))
        return
    with server:
        yield server
