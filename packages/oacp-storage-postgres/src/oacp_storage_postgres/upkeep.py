"""What a store needs now and then, besides its calls: old receipts dropped, and partitions created ahead."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from oacp_storage_core import StorageError
from oacp_storage_engine.background import start_task
from oacp_storage_postgres import statements as sql
from oacp_storage_postgres.connections import Connections

_log = logging.getLogger(__name__)

_EVERY_SECONDS = 60.0
_LONGEST_SECONDS = 30.0


class Upkeep:
    """Done beside the writes of one engine, once a minute; what fails is tried again the next time."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._last = asyncio.get_running_loop().time()
        self._task: asyncio.Task[None] | None = None

    def do_if_due(self) -> None:
        """Begin, if it has not been done for a while."""
        now = asyncio.get_running_loop().time()
        if now - self._last > _EVERY_SECONDS and (self._task is None or self._task.done()):
            self._last = now
            self._task = start_task(self.do(), "oacp-storage upkeep")

    async def do(self) -> None:
        """Do it now."""
        try:
            async with asyncio.timeout(_LONGEST_SECONDS), self._connections.reading() as connection:
                await self.do_on(connection)
        except (TimeoutError, StorageError) as exc:
            _log.warning("upkeep of the store is put off: %s", exc)

    async def do_on(self, connection: Any) -> None:
        """Do it now, on this connection."""
        if await connection.fetchval(sql.IS_PARTITIONED):
            await connection.execute(sql.CREATE_PARTITIONS)
        await connection.execute(sql.DROP_OLD_RECEIPTS)

    async def close(self) -> None:
        """Stop, if it is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
