"""The replica: reads that may be stale go to it while it answers soon, and do without it for a while when not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from oacp_storage_core import StorageError
from oacp_storage_postgres.connections import Connections

_log = logging.getLogger(__name__)

_SHARE = 0.1  # of the time of a call, for the replica to answer; the primary has the rest
_SKIPPED_SECONDS = 30.0


class ReplicaAwayError(StorageError):
    """The replica is away, or did not answer in time: read from the primary."""


class Replica:
    """The connections to a replica. It has a tenth of ``timeout``, the time of a call, to answer a read."""

    def __init__(self, connections: Connections, timeout: float) -> None:
        self._connections = connections
        self._patience = timeout * _SHARE
        self._skipped_until = 0.0

    def open(self) -> None:
        """Be ready; the first read connects."""
        self._connections.make_pool()

    async def read(self, statement: str, *arguments: Any) -> list[Any]:
        """The rows; ``ReplicaAwayError`` for half a minute after it failed to give some in time."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._skipped_until:
            raise ReplicaAwayError
        try:
            async with asyncio.timeout(self._patience), self._connections.reading() as connection:
                rows: list[Any] = await connection.fetch(statement, *arguments)
                return rows
        except (TimeoutError, StorageError) as exc:
            self._skipped_until = loop.time() + _SKIPPED_SECONDS
            reason = str(exc) or f"no answer within {self._patience:g} s"
            _log.warning(
                "the replica is done without for %g s, and stale reads go to the primary: %s",
                _SKIPPED_SECONDS,
                reason,
            )
            raise ReplicaAwayError from exc

    async def close(self) -> None:
        """Close the connections, within a moment."""
        await self._connections.close()

    def abandon(self) -> None:
        """Drop the connections without awaiting anything."""
        self._connections.abandon()
