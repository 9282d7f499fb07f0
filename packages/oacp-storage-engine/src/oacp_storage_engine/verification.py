"""Verification: reads everything of a namespace and reports what is not as it was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from oacp_storage_core import CorruptDataError, Damage, DataKind

from oacp_storage_engine.codec import to_document, to_interaction
from oacp_storage_engine.log_iterators import PAGE_BYTES, PAGE_RECORDS
from oacp_storage_engine.primitives import Doc, DocKind, Page
from oacp_storage_engine.runtime import Runtime

_AGENTS = 500
_DOCUMENTS = 16  # of up to 15 MiB each

_KIND: dict[DocKind, DataKind] = {
    DocKind.STATE: "agent_state",
    DocKind.LEARNING: "learning_data",
    DocKind.SYSTEM: "system_state",
}


async def verify(get_runtime: Callable[[], Awaitable[Runtime]]) -> AsyncIterator[Damage]:
    """What the store's own check finds, then every record against its checksum, agent by agent."""
    runtime = await get_runtime()
    async for damage in runtime.engine.check():
        yield damage
    after: str | None = None
    while agents := await _agents(runtime, after):
        for agent in agents:
            async for damage in _log(runtime, agent):
                yield damage
            async for damage in _documents(runtime, agent, DocKind.STATE):
                yield damage
            async for damage in _documents(runtime, agent, DocKind.LEARNING):
                yield damage
        after = agents[-1]
    async for damage in _documents(runtime, None, DocKind.SYSTEM):
        yield damage


async def _agents(runtime: Runtime, after: str | None) -> list[str]:
    return await runtime.read(lambda: runtime.engine.scan_agents(prefix="", after=after, limit=_AGENTS))


async def _log(runtime: Runtime, agent: str) -> AsyncIterator[Damage]:
    low: int | None = 0
    last = 0
    while low is not None:
        page = await _page(runtime, agent, low)
        for record in page.records:
            try:
                to_interaction(agent, record)
            except CorruptDataError as exc:
                yield Damage("interaction", str(exc), agent, record.sequence)
            if not last < record.sequence <= page.head:
                reason = f"sequence {record.sequence} follows {last}, and the last assigned is {page.head}"
                yield Damage("interaction", reason, agent, record.sequence)
            last = record.sequence
        low = page.next


async def _page(runtime: Runtime, agent: str, low: int) -> Page:
    return await runtime.read(
        lambda: runtime.engine.read_log(
            agent, low, None, reverse=False, limit=PAGE_RECORDS, max_bytes=PAGE_BYTES
        )
    )


async def _documents(runtime: Runtime, agent: str | None, kind: DocKind) -> AsyncIterator[Damage]:
    after: str | None = None
    while docs := await _docs(runtime, agent, kind, after):
        for doc in docs:
            try:
                to_document(agent, kind, doc)
            except CorruptDataError as exc:
                yield Damage(_KIND[kind], str(exc), agent, None, doc.key)
        if kind is DocKind.STATE:
            return
        after = docs[-1].key


async def _docs(runtime: Runtime, agent: str | None, kind: DocKind, after: str | None) -> list[Doc]:
    if kind is DocKind.STATE:
        found = await runtime.read(lambda: runtime.engine.read_docs(agent, kind, [""]))
        return [doc for doc in found if doc is not None]
    return await runtime.read(
        lambda: runtime.engine.scan_docs(agent, kind, prefix="", after=after, limit=_DOCUMENTS)
    )
