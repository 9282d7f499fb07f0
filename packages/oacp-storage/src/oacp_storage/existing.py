"""Opening what is there already: commands that only read must not make an empty store of a mistyped place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from oacp_storage.exits import Status, Stop
from oacp_storage_core import Storage, create_storage


@asynccontextmanager
async def open_existing(source: str | None) -> AsyncIterator[Storage]:
    """As ``open_storage``; ``Stop`` where there is no store to open, and then nothing is made."""
    storage = create_storage(source)
    try:
        await require_store(storage)
        await storage.open()
        yield storage
    finally:
        await storage.close()


async def require_store(storage: Storage) -> None:
    """``Stop`` where the storage would first have to make its store. A server is always there to be asked."""
    place = await storage.missing_store()
    if place is not None:
        raise Stop(
            f"there is no store at {place}, and none was made: check the name; import, copy and every program that "
            "writes make one",
            Status.USAGE,
        )
