"""``RedisStorage``: what applications hold, with the options."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

from oacp_storage_core import ALL_CAPABILITIES, Capability, StorageConfigError, typed_options
from oacp_storage_engine import EngineStorage

if TYPE_CHECKING:
    from oacp_storage_engine import Engine

_RECEIPT_SECONDS = 600


class RedisStorage(EngineStorage):
    """Keeps everything in Redis 6.2 or later, or Valkey, for any number of tasks, processes and machines.

    **Options.**

    - ``redis_url``: ``redis://[user:password@]host:6379/0``, ``rediss://`` (over TLS), ``redis+unix:///path/to/socket``,
      ``redis+cluster://host:6379,host:6379`` (some of the nodes), or ``redis+sentinel://host:26379,host:26379/service``.
      What stands in its query is the driver's, for example ``?ssl_ca_certs=/etc/ca.pem``; ``?ssl=true`` asks for TLS
      to a cluster, or to sentinels and their servers.
    - ``username``, ``password``: instead of those in the URL. ``sentinel_username``, ``sentinel_password``: those of
      the sentinels themselves.
    - ``min_replicas``: how many replicas must have a write before it is acknowledged (WAIT). With none, a failover may
      lose what was acknowledged.
    - ``pool_size``: how many connections to each server reads and deletions may use at once; others wait. Group commits
      use up to two more (on a cluster one more for each bucket that is being written to).
    - ``connect_timeout``, ``response_timeout``: seconds after which a server that does not answer is given up, and the
      call is sent again on a new connection until its own ``timeout``.
    - ``namespace``, ``coerce``, ``timeout``: as in ``EngineStorage``. The namespace is part of every key.

    **Durability** is that of the server: see ``health()``, which names what could be lost, and why.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    @typed_options
    def __init__(
        self,
        redis_url: str = "redis://localhost:6379",
        *,
        username: str | None = None,
        password: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        min_replicas: int = 0,
        pool_size: int = 20,
        connect_timeout: float = 5.0,
        response_timeout: float = 5.0,
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        from oacp_storage_redis.address import parse_address

        if min_replicas < 0:
            raise StorageConfigError(f"min_replicas must not be negative, it is {min_replicas}")
        if pool_size < 1:
            raise StorageConfigError(f"pool_size must be at least 1, not {pool_size}")
        for name, seconds in (("connect_timeout", connect_timeout), ("response_timeout", response_timeout)):
            if not seconds > 0:
                raise StorageConfigError(f"{name} must be a positive number of seconds, not {seconds!r}")
        self._address = parse_address(
            redis_url,
            {"username": username, "password": password},
            {"username": sentinel_username, "password": sentinel_password},
        )
        self._engine_options: dict[str, Any] = {
            "min_replicas": min_replicas,
            "pool_size": pool_size,
            "connect_timeout": connect_timeout,
            "response_timeout": response_timeout,
            "keep_receipts": max(_RECEIPT_SECONDS, math.ceil(2 * timeout)),
        }
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The storage of a URL; what is no option of ours stays in it for the driver."""
        if "redis_url" in options:
            raise StorageConfigError("the URL names the server already; leave out the option redis_url")
        return cls(url, **options)

    def _make_engine(self) -> Engine:
        from oacp_storage_redis.engine import RedisEngine

        return RedisEngine(self._address, self.namespace, **self._engine_options)
