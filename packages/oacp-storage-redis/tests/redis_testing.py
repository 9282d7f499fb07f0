"""What these tests share: a proxy in front of a server, and openings that must fail."""

from __future__ import annotations

import pytest

from oacp_storage_conformance.servers import Proxy
from oacp_storage_core import StorageError
from oacp_storage_redis import RedisStorage


class RedisProxy(Proxy):
    """In front of a Redis server."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


async def refused(storage: RedisStorage, kind: type[StorageError], words: str) -> None:
    """Opening must fail with this kind of error and these words, and show no secret; health() must not be ok."""
    try:
        with pytest.raises(kind, match=words) as caught:
            await storage.open()
        assert "sesame" not in str(caught.value)
        assert "sesame" not in repr(caught.value.__cause__)
        health = await storage.health()
        assert not health.ok
        assert "sesame" not in repr(health)
    finally:
        await storage.close()
