"""What these tests share: load on a storage, and small helpers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from oacp_storage_core import OutcomeUnknownError, StorageError


def name_of(request: pytest.FixtureRequest) -> str:
    """The test's name as a namespace or the name of a database; its end, where the parameters are."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-60:]


async def until_stored(storage: Any, agent: str, n: int) -> None:
    """Append under an id of its own until that is acknowledged."""
    while True:
        with contextlib.suppress(StorageError):
            await storage.store_interaction(agent, {"n": n}, interaction_id=f"id {n}")
            return


async def whole_log(storage: Any, agent: str) -> list[Any]:
    return [one async for one in storage.iter_interactions(agent)]


async def more(fate: dict[tuple[int, int], Any], count: int) -> None:
    """Wait until the load has made so many more appends."""
    end = len(fate) + count
    while len(fate) < end:
        await asyncio.sleep(0.01)


async def write(storage: Any, agent: str, by: int, n: int) -> None:
    """One interaction of the load: alone, in a batch, in a turn, or beside other documents of its group."""
    data = {"by": by, "n": n}
    match n % 6:
        case 1:
            await storage.store_interactions(agent, [data])
        case 3:
            await storage.record_turn(agent, interactions=[data], state=data)
        case 5:
            others = storage.store_agent_state(f"state {by}", data), storage.store_system_state(f"{by}", data)
            answers = await asyncio.gather(
                storage.store_interaction(agent, data), *others, return_exceptions=True
            )
            if isinstance(answers[0], BaseException):
                raise answers[0]
            assert all(a is None or isinstance(a, int | StorageError) for a in answers[1:]), answers
        case _:
            await storage.store_interaction(agent, data)


@asynccontextmanager
async def load(
    storage: Any, *, agents: int = 5, callers: int = 10
) -> AsyncIterator[dict[tuple[int, int], Any]]:
    """Interactions under generated ids from many callers meanwhile; yields what each of them ended in."""
    fate: dict[tuple[int, int], Any] = {}
    going = True

    async def call(caller: int) -> None:
        n = 0
        while going:
            n += 1
            fate[caller, n] = "under way"
            try:
                await write(storage, f"agent {caller % agents}", caller, n)
                fate[caller, n] = None
            except StorageError as exc:
                fate[caller, n] = exc

    tasks = [asyncio.ensure_future(call(caller)) for caller in range(callers)]
    try:
        yield fate
    finally:
        going = False
        await asyncio.gather(*tasks)


async def assert_exactly_once(storage: Any, fate: dict[tuple[int, int], Any], *, agents: int = 5) -> None:
    """Acknowledged interactions are there once, unknown ones once or not, failed ones not; without gaps."""
    stored: Counter[tuple[int, int]] = Counter()
    for agent in range(agents):
        log = await whole_log(storage, f"agent {agent}")
        assert [one.sequence for one in log] == list(range(1, len(log) + 1))
        assert len({one.id for one in log}) == len(log)
        stored.update((one.data["by"], one.data["n"]) for one in log)
    for append, error in fate.items():
        allowed = {1} if error is None else {0, 1} if isinstance(error, OutcomeUnknownError) else {0}
        assert stored[append] in allowed, (append, error)
    assert [damage async for damage in storage.verify()] == []
