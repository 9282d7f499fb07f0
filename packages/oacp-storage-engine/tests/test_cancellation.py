"""Cancelled at each of its steps, a call has happened wholly or not at all, and the storage goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from memory_engine import FakeStorage
from oacp_storage_core import Document, Interaction
from virtual_loop import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS = [Interaction("ann", f"new-{n}", 0, NOW, {"n": n}) for n in range(2)]

Call = Callable[[FakeStorage], Awaitable[object]]

CALLS: dict[str, Call] = {
    "store_interaction": lambda storage: storage.store_interaction("ann", {"n": 9}),
    "store_interactions": lambda storage: storage.store_interactions("ann", [{"n": 8}, {"n": 9}]),
    "store_agent_state": lambda storage: storage.store_agent_state("ann", {"n": 9}),
    "update_agent_state": lambda storage: storage.update_agent_state("ann", lambda data: {"n": 9}),
    "delete_agent_state": lambda storage: storage.delete_agent_state("ann"),
    "record_turn": lambda storage: storage.record_turn(
        "ann", interactions=RECORDS, state={"n": 9}, learning={"k": {"n": 9}}
    ),
    "delete_interactions": lambda storage: storage.delete_interactions("ann", keep_last=0),
    "delete_agent": lambda storage: storage.delete_agent("ann"),
    "import_records": lambda storage: storage.import_records(
        "ann",
        interactions=[Interaction("ann", "imported", 7, NOW, {"n": 7})],
        state=Document("", {"n": 7}, 7, NOW),
    ),
    "get_interactions": lambda storage: storage.get_interactions("ann"),
    "health": lambda storage: storage.health(),
    "open": lambda storage: storage.open(),
}


async def everything(storage: FakeStorage) -> tuple[Any, ...]:
    """What the store holds, without ids and times that differ from run to run."""
    return (
        await storage.list_agents(),
        [(one.sequence, one.data) async for one in storage.iter_interactions("ann")],
        await storage.get_agent_state("ann"),
        await storage.get_learning_data("ann", "k"),
    )


async def filled() -> FakeStorage:
    async with FakeStorage() as storage:
        await storage.store_interactions("ann", [{"n": n} for n in range(3)])
        await storage.store_agent_state("ann", {"n": 0})
        return FakeStorage(storage.store)  # one that has to be opened first


@pytest.mark.parametrize("name", CALLS)
def test_wholly_or_not_at_all(name: str) -> None:
    async def main() -> None:
        before = await everything(await filled())
        whole = await filled()
        await CALLS[name](whole)
        after = await everything(whole)
        cancelled, steps = 1, 0
        while cancelled:
            storage = await filled()
            task = asyncio.ensure_future(CALLS[name](storage))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            cancelled = task.cancelled()
            # What was sent is finished although nobody waits for it; what comes after it is behind it.
            await storage.store_interaction("bob", {})
            found = await everything(storage)
            assert (found[0][-1:], found[1:]) in (
                (["bob"], before[1:]),
                (["bob"], after[1:]),
            ), f"cancelled after {steps} steps"
            await storage.close()
            steps += 1
        assert steps > 2

    run(main())
