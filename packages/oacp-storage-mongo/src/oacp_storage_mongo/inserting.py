"""Inserting many interactions in a transaction: the next are encoded while the server writes those before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from bson.raw_bson import RawBSONDocument

from oacp_storage_engine import Row
from oacp_storage_engine.background import start_task
from oacp_storage_mongo.encoding import record_document
from oacp_storage_mongo.layout import slot_of
from oacp_storage_mongo.store import Store

_STATEMENT_BYTES = 2 * 1024 * 1024  # of documents in one statement, unless one document is larger
_AT_ONCE = 64  # rows that are encoded before other tasks have a turn, the one that sends among them


async def insert_rows(store: Store, rows: Sequence[Row], session: Any) -> None:
    """Insert the rows in their order, in as many statements as they need, of which one at a time is under way."""
    under_way: asyncio.Task[None] | None = None
    waiting: list[RawBSONDocument] = []
    try:
        async with aclosing(_encoded(store, rows)) as statements:
            async for documents in statements:
                if waiting:
                    if under_way is not None:
                        await under_way
                    under_way = start_task(
                        store.insert(waiting, session), "oacp-storage inserts into MongoDB"
                    )
                waiting = documents
    finally:
        if under_way is not None:  # a statement is left to its end
            await asyncio.wait([under_way])
    if under_way is not None:
        await under_way
    if waiting:
        await store.insert(waiting, session)


async def _encoded(store: Store, rows: Sequence[Row]) -> AsyncGenerator[list[RawBSONDocument], None]:
    """The documents for each statement."""
    slots: dict[str, bytes] = {}
    documents: list[RawBSONDocument] = []
    size = 0
    for i, (agent, sequence, append) in enumerate(rows, 1):
        slot = slots.get(agent)
        if slot is None:
            slot = slots[agent] = slot_of(store.namespace, agent)
        document = record_document(store.namespace, agent, slot, sequence, append)
        if documents and size + len(document.raw) > _STATEMENT_BYTES:
            yield documents
            documents, size = [], 0
        documents.append(document)
        size += len(document.raw)
        if not i % _AT_ONCE:
            await asyncio.sleep(0)
    yield documents
