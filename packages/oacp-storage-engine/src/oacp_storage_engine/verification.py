"""Verification: reads everything of a namespace and reports what is not as it was written."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from oacp_storage_core import CorruptDataError, Damage, DataKind
from oacp_storage_engine.codec import to_document, to_interaction
from oacp_storage_engine.failure import made_public
from oacp_storage_engine.log_iterators import STREAMED
from oacp_storage_engine.primitives import Doc, DocKind
from oacp_storage_engine.runtime import Runtime

_AGENTS = 500
_DOCUMENTS = 16  # of up to 15 MiB each

_KIND: dict[DocKind, DataKind] = {
    DocKind.STATE: "agent_state",
    DocKind.LEARNING: "learning_data",
    DocKind.SYSTEM: "system_state",
}


class Verification(AsyncIterator[Damage]):
    """``verify``: what the store's own check finds, then every record against its checksum, agent by agent.

    It works in steps of a page each. A step that fails, with a lost connection for example, raises its error and
    is done again when the iteration goes on.
    """

    def __init__(self, runtime: Callable[[], Runtime]) -> None:
        self._runtime = runtime
        self._found: deque[Damage] = deque()
        self._checking: AsyncIterator[Damage] | None = None
        # What is left to do, the next step last.
        self._steps: list[Callable[[], Awaitable[None]]] = [
            partial(self._documents, None, DocKind.SYSTEM, None),
            partial(self._agents, None),
            self._check,
        ]

    async def __anext__(self) -> Damage:
        while not self._found:
            if not self._steps:
                raise StopAsyncIteration
            step = self._steps.pop()
            try:
                await step()
            except BaseException:
                self._steps.append(step)
                raise
        return self._found.popleft()

    async def _check(self) -> None:
        """The next thing that the store's own check finds. However long it takes, only the caller ends it."""
        with self._runtime() as runtime:
            await runtime.opened()
            if self._checking is None:
                self._checking = runtime.engine.check()
            try:
                with made_public("verifying"):
                    damage = await anext(self._checking, None)
            except BaseException:
                self._checking = None  # it cannot go on, and begins anew
                raise
        if damage is not None:
            self._found.append(damage)
            self._steps.append(self._check)

    async def _agents(self, after: str | None) -> None:
        with self._runtime() as runtime:
            agents = await runtime.read(
                lambda: runtime.engine.scan_agents(prefix="", after=after, limit=_AGENTS)
            )
        if agents:
            self._steps.append(partial(self._agents, agents[-1]))
        for agent in reversed(agents):
            self._steps += [
                partial(self._documents, agent, DocKind.LEARNING, None),
                partial(self._documents, agent, DocKind.STATE, None),
                partial(self._log, agent, 0),
            ]

    async def _log(self, agent: str, low: int) -> None:
        with self._runtime() as runtime:
            page = await runtime.read(
                lambda: runtime.engine.read_log(
                    agent, low, None, reverse=False, limit=STREAMED.records, max_bytes=STREAMED.bytes
                )
            )
        last = low
        for record in page.records:
            try:
                to_interaction(agent, record)
            except CorruptDataError as exc:
                self._found.append(Damage("interaction", str(exc), agent, record.sequence))
            if not last < record.sequence <= page.head:
                reason = f"sequence {record.sequence} follows {last}, and the last assigned is {page.head}"
                self._found.append(Damage("interaction", reason, agent, record.sequence))
            last = record.sequence
        if page.next is not None:
            self._steps.append(partial(self._log, agent, page.next))

    async def _documents(self, agent: str | None, kind: DocKind, after: str | None) -> None:
        docs = await self._docs(agent, kind, after)
        for doc in docs:
            try:
                to_document(agent, kind, doc)
            except CorruptDataError as exc:
                key = None if kind is DocKind.STATE else doc.key
                self._found.append(Damage(_KIND[kind], str(exc), agent, None, key))
        if docs and kind is not DocKind.STATE:
            self._steps.append(partial(self._documents, agent, kind, docs[-1].key))

    async def _docs(self, agent: str | None, kind: DocKind, after: str | None) -> list[Doc]:
        with self._runtime() as runtime:
            if kind is DocKind.STATE:
                found = await runtime.read(lambda: runtime.engine.read_docs(agent, kind, [""]))
                return [doc for doc in found if doc is not None]
            return await runtime.read(
                lambda: runtime.engine.scan_docs(agent, kind, prefix="", after=after, limit=_DOCUMENTS)
            )
