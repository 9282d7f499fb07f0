"""Every call is cancelled at every one of its awaits, opening included: it happens wholly or not at all."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from oacp_storage_conformance.load import whole_log
from oacp_storage_conformance.servers import RedisServer
from oacp_storage_redis import RedisStorage

CALLS: dict[str, Callable[[RedisStorage], Coroutine[Any, Any, Any]]] = {
    "append": lambda storage: storage.store_interaction("ann", {"n": 1}),
    "batch": lambda storage: storage.store_interactions("ann", [{"n": 1}] * 3),
    "turn": lambda storage: storage.record_turn("ann", interactions=[{"n": 1}] * 3, state={"n": 1}),
    "state": lambda storage: storage.store_agent_state("ann", {"n": 1}),
    "system state": lambda storage: storage.store_system_state("key", {"n": 1}),
    "retention": lambda storage: storage.delete_interactions("ann", keep_last=1),
    "deletion": lambda storage: storage.delete_agent("ann"),
    "reading": lambda storage: storage.get_interactions("ann"),
    "agents": lambda storage: storage.list_agents(),
    "health": lambda storage: storage.health(),
    "open": lambda storage: storage.open(),
}


@types.coroutine
def cancelled_at(call: Coroutine[Any, Any, Any], number: int) -> Generator[Any, Any, bool]:
    """Drive the call in this task, cancelling it at the await of that number; False if it has fewer."""
    cancelled: asyncio.CancelledError | None = None
    awaits = 0
    while True:
        try:
            waiting_for = call.send(None) if cancelled is None else call.throw(cancelled)
        except StopIteration:
            return False
        except asyncio.CancelledError:
            return True
        awaits += 1
        if awaits == number:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            yield waiting_for
            cancelled = None
        except asyncio.CancelledError as exc:
            cancelled = exc


@pytest.mark.parametrize("warm", [False, True], ids=["opening", "opened"])
@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.asyncio
async def test_a_call_cancelled_at_any_await(
    oacp_redis_server: RedisServer,
    call: Callable[[RedisStorage], Coroutine[Any, Any, Any]],
    warm: bool,
    request: pytest.FixtureRequest,
) -> None:
    namespace = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:64]

    async def cancel(storage: RedisStorage, number: int) -> bool:
        return await cancelled_at(call(storage), number)

    number, going = 0, True
    while going:
        number += 1
        async with RedisStorage(oacp_redis_server.url, namespace=namespace, pool_size=1) as witness:
            await witness.delete_agent("ann")
            await witness.store_interactions("ann", [{"n": 0}] * 2)
            before = len(await whole_log(witness, "ann"))
            storage = RedisStorage(oacp_redis_server.url, namespace=namespace, pool_size=1)
            if warm:
                await storage.open()
            going = await asyncio.create_task(cancel(storage, number))
            await storage.store_agent_state("bob", {"usable": True})
            await storage.close()
            log = await whole_log(witness, "ann")
            assert len(log) - before in {0, 1, 3, -1, -2}, "wholly or not at all"
            sequences = [one.sequence for one in log]
            assert sequences == list(range(sequences[0], sequences[0] + len(log))) if log else not sequences
            state = await witness.get_agent_state("ann")
            assert state is None or len(log) in {0, 2, before + 3}
    assert number > 1 or (warm and "open" in request.node.name), "it was never cancelled"
