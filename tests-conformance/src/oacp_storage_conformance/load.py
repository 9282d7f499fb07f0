"""Load on a storage while a test breaks something, and the proof that each write of it happened exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from oacp_storage_conformance.patience import soon
from oacp_storage_core import Interaction, OutcomeUnknownError, Storage, StorageError

Fate = dict[tuple[int, int], "StorageError | str | None"]
"""What each interaction of the load ended in, by caller and number: None is an acknowledgement."""

_AGENTS = 5


@asynccontextmanager
async def load(storage: Storage, *, callers: int = 10) -> AsyncIterator[Fate]:
    """Interactions under generated ids for a few agents from many callers, while the block runs.

    They go alone, in batches and turns, and beside documents of other kinds, so that groups are mixed. Yields what
    each of them ended in so far; the block ends when the last call has ended.
    """
    fate: Fate = {}
    going = True

    async def call(caller: int) -> None:
        n = 0
        while going:
            n += 1
            fate[caller, n] = "under way"
            try:
                await _write(storage, f"agent {caller % _AGENTS}", caller, n)
                fate[caller, n] = None
            except StorageError as exc:
                fate[caller, n] = exc

    tasks = [asyncio.ensure_future(call(caller)) for caller in range(callers)]
    try:
        yield fate
    finally:
        going = False
        await soon(asyncio.gather(*tasks), "the calls of the load", 120)


async def more(fate: Fate, count: int) -> None:
    """Wait until the load has begun so many more interactions."""
    end = len(fate) + count

    async def reached() -> None:
        while len(fate) < end:  # noqa: ASYNC110 - what others count
            await asyncio.sleep(0.01)

    await soon(reached(), f"{count} more interactions of the load", 120)


async def assert_exactly_once(storage: Storage, fate: Fate) -> None:
    """Acknowledged interactions are there once, unknown ones once or not, failed ones not; without gaps or damage."""
    stored: Counter[tuple[int, int]] = Counter()
    for agent in range(_AGENTS):
        log = await whole_log(storage, f"agent {agent}")
        assert [one.sequence for one in log] == list(range(1, len(log) + 1)), "the sequence has gaps"
        assert len({one.id for one in log}) == len(log), "an id is there twice"
        stored.update((one.data["by"], one.data["n"]) for one in log)
    for interaction, error in fate.items():
        allowed = {1} if error is None else {0, 1} if isinstance(error, OutcomeUnknownError) else {0}
        assert stored[interaction] in allowed, (interaction, stored[interaction], error)
    assert [damage async for damage in storage.verify()] == []


async def whole_log(storage: Storage, agent: str) -> list[Interaction]:
    """Every interaction of the agent, the oldest first."""
    return [one async for one in storage.iter_interactions(agent)]


async def until_stored(storage: Storage, agent: str, n: int) -> None:
    """Append ``{"n": n}`` under an id of its own until that is acknowledged: repeating it changes nothing."""

    async def stored() -> None:
        while True:
            try:
                await storage.store_interaction(agent, {"n": n}, interaction_id=f"id {n}")
            except StorageError:
                await asyncio.sleep(0)
            else:
                return

    await soon(stored(), f"an acknowledgement of interaction {n}", 120)


async def _write(storage: Storage, agent: str, by: int, n: int) -> None:
    data = {"by": by, "n": n}
    match n % 6:
        case 1:
            await storage.store_interactions(agent, [data])
        case 3:
            await storage.record_turn(agent, interactions=[data], state=data)
        case 5:
            others = storage.store_agent_state(f"state {by}", data), storage.store_system_state(f"{by}", data)
            mine, *theirs = await asyncio.gather(
                storage.store_interaction(agent, data), *others, return_exceptions=True
            )
            for one in theirs:
                if isinstance(one, BaseException) and not isinstance(one, StorageError):
                    raise one
            if isinstance(mine, BaseException):
                raise mine
        case _:
            await storage.store_interaction(agent, data)
