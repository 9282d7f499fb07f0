"""Deletions: retention and the erasure of agents, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from oacp_storage_core import Deletion, OutcomeUnknownError, RetentionPick, Storage, StorageError
from oacp_storage_core.arguments import check_list, check_retention
from oacp_storage_core.names import check_name
from oacp_storage_engine.primitives import Erased, Slot, Trimmed
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.writing import Writing

_TRIM_STEP = 10_000
_TRIM_AGENTS = 500
_ERASE_STEP = 10_000


class Deletions(Writing, Storage):
    """The part of ``EngineStorage`` that deletes interactions and agents, and lists what agents there are."""

    async def list_agents(self, *, prefix: str = "", after: str | None = None, limit: int = 100) -> list[str]:
        start, last, wanted = check_list(prefix, after, limit)
        if not wanted:
            return []
        with self._call() as runtime:
            return await self._agents(runtime, start, last, wanted)

    async def _agents(self, runtime: Runtime, prefix: str, after: str | None, limit: int) -> list[str]:
        return await runtime.read(lambda: runtime.engine.scan_agents(prefix=prefix, after=after, limit=limit))

    async def delete_interactions(
        self,
        agent_id: str | None = None,
        *,
        ids: Iterable[str] | None = None,
        before: datetime | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
    ) -> int:
        agent = None if agent_id is None else check_name(agent_id)
        pick = check_retention(agent, ids, before, keep_last)
        counts: list[int] = []  # of each step
        with self._call() as runtime, _said_if_partly_done([] if dry_run else counts):
            if agent is not None:
                for part in _parts(pick):
                    await self._trim(runtime, [agent], part, dry_run, counts)
                return sum(counts)
            if not dry_run:
                dropped = await runtime.write(
                    lambda attempt, deadline: runtime.engine.drop_covered(attempt, pick, deadline=deadline)
                )
                counts.append(dropped)
            after: str | None = None
            while agents := await self._agents(runtime, "", after, _TRIM_AGENTS):
                await self._trim(runtime, agents, pick, dry_run, counts)
                after = agents[-1]
            return sum(counts)

    async def _trim(
        self, runtime: Runtime, agents: list[str], pick: RetentionPick, dry_run: bool, counts: list[int]
    ) -> None:
        async def step(attempt: str, deadline: float) -> Trimmed:
            return await runtime.engine.trim(
                attempt, agents, pick, dry_run=dry_run, limit=_TRIM_STEP, deadline=deadline
            )

        slot = Slot(True, agents[0]) if len(agents) == 1 else None
        done = await runtime.write(step, slot=slot)  # in the order of calls, as far as one step goes
        counts.append(done.removed)
        while done.more:
            done = await runtime.write(step)
            counts.append(done.removed)

    async def delete_agent(self, agent_id: str) -> Deletion:
        agent = check_name(agent_id)
        with self._call() as runtime:

            async def erase(attempt: str, deadline: float, begin: bool = False) -> Erased:
                return await runtime.engine.erase(
                    attempt, agent, begin=begin, limit=_ERASE_STEP, deadline=deadline
                )

            steps: list[Erased] = []
            with _said_if_partly_done(steps):
                steps.append(await runtime.write(partial(erase, begin=True), slot=Slot(True, agent)))
                while steps[-1].more:
                    steps.append(await runtime.write(erase))
        return Deletion(
            agent,
            sum(step.interactions for step in steps),
            sum(step.states for step in steps),
            sum(step.learning for step in steps),
        )


@contextmanager
def _said_if_partly_done(steps: Sequence[int | Erased]) -> Iterator[None]:
    """A deletion that fails after a step that changed something must not say that nothing was changed."""
    try:
        yield
    except OutcomeUnknownError:
        raise
    except StorageError as exc:
        if not any(steps):
            raise
        raise OutcomeUnknownError(
            f"a part was deleted, and then: {exc}; repeat the call to delete the rest"
        ) from exc


def _parts(pick: RetentionPick) -> Iterator[RetentionPick]:
    """The pick in parts of not too many ids each, which together mean the same."""
    if pick.ids is None:
        yield pick
        return
    ids = tuple(dict.fromkeys(pick.ids))
    for i in range(0, len(ids), _TRIM_STEP):
        yield pick._replace(ids=ids[i : i + _TRIM_STEP])
