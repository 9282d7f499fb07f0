"""oacp-storage-redis: the Redis and Valkey backend of oacp-storage."""

from __future__ import annotations

from oacp_storage_redis.storage import RedisStorage

__all__ = ["RedisStorage"]
