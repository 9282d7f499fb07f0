"""The contract, clause by clause, on real servers."""

from __future__ import annotations

import sys

import pytest
import redis

from oacp_storage_conformance import StorageConformance, Tamper
from oacp_storage_conformance.servers import RedisCluster, RedisServer
from redis_tamper import RedisClusterTamper, RedisTamper

PATIENCE = "timeout=8"  # seconds that calls to a stopped server take; the default makes these tests long


def with_password(url: str) -> str:
    """The URL with one that must not be shown. A server without a password takes any for its default user."""
    return f"{url.replace('://', '://default:open-sesame@', 1) if '@' not in url else url}?{PATIENCE}"


def fresh(url: str, *servers: RedisServer) -> str:
    """The URL, and servers of our own emptied: a tamper goes over all namespaces that it finds."""
    for server in servers:
        if server.controllable:
            with redis.Redis(port=server.port) as client:
                client.flushall()
    return url


class TestRedis(StorageConformance):
    @pytest.fixture
    def storage_source(self, oacp_redis_server: RedisServer) -> str:
        return fresh(with_password(oacp_redis_server.url), oacp_redis_server)

    @pytest.fixture
    def storage_tamper(self, oacp_redis_server: RedisServer) -> Tamper | None:
        return RedisTamper(oacp_redis_server) if oacp_redis_server.controllable else None


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the wheel with Redis 6.2 is made for Python 3.11"
)
class TestRedis6(StorageConformance):
    """The oldest Redis that is taken; whatever a later one brought would fail here."""

    @pytest.fixture
    def storage_source(self, oacp_redis_6_server: RedisServer) -> str:
        return fresh(with_password(oacp_redis_6_server.url), oacp_redis_6_server)

    @pytest.fixture
    def storage_tamper(self, oacp_redis_6_server: RedisServer) -> Tamper | None:
        return RedisTamper(oacp_redis_6_server) if oacp_redis_6_server.controllable else None


class TestValkey(StorageConformance):
    @pytest.fixture
    def storage_source(self, oacp_valkey_server: RedisServer) -> str:
        return fresh(with_password(oacp_valkey_server.url), oacp_valkey_server)

    @pytest.fixture
    def storage_tamper(self, oacp_valkey_server: RedisServer) -> Tamper | None:
        return RedisTamper(oacp_valkey_server) if oacp_valkey_server.controllable else None


class TestRedisCluster(StorageConformance):
    @pytest.fixture
    def storage_source(self, oacp_redis_cluster: RedisCluster) -> str:
        return fresh(with_password(oacp_redis_cluster.url), *oacp_redis_cluster.nodes)

    @pytest.fixture
    def storage_tamper(self, oacp_redis_cluster: RedisCluster) -> Tamper:
        return RedisClusterTamper(oacp_redis_cluster)
