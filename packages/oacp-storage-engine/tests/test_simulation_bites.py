"""The simulation bites: each way to break the engine is found by it, with the seeds that find nothing otherwise."""

# ruff: noqa: SLF001 - it breaks the engine from inside

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar
from unittest import mock

import pytest

import memory_engine
from engine_simulation import World
from oacp_storage_core import StorageError, StorageTimeoutError
from oacp_storage_engine import Applied, Plan, Put, Rejected, Slot, Snapshot, Unit, judge
from oacp_storage_engine import group_commit as group_commit_module
from oacp_storage_engine import resend as resend_module
from oacp_storage_engine import runtime as runtime_module
from oacp_storage_engine import turnstile as turnstile_module
from oacp_storage_engine.documents import Documents
from oacp_storage_engine.failure import public
from oacp_storage_engine.group_commit import GroupCommit
from oacp_storage_engine.log_iterators import WatchIterator
from oacp_storage_engine.resend import Sending
from oacp_storage_engine.runtime import Runtime
from oacp_storage_engine.turnstile import Turnstile
from oacp_storage_engine.watch_hub import Subscription, WatchHub
from simulation_check import violations

T = TypeVar("T")
Break = Callable[[], AbstractContextManager[object]]

SEEDS = 150

BREAKS: dict[str, Break] = {}


def breaking(function: Break) -> Break:
    """Registers a way to break the engine."""
    BREAKS[function.__name__] = function
    return function


@breaking
def a_new_attempt_id_for_each_sending() -> AbstractContextManager[object]:
    send = Sending.send

    async def forgetful(self: Sending, call: Callable[[str], Awaitable[T]], deadline: float) -> T:
        self.attempt = Sending().attempt
        return await send(self, call, deadline)

    return mock.patch.object(Sending, "send", forgetful)


@breaking
def forgetting_that_a_reply_was_lost() -> AbstractContextManager[object]:
    too_late = Sending.too_late

    def sure(self: Sending, last: StorageError) -> StorageError:
        self.maybe_applied = False
        return too_late(self, last)

    return mock.patch.object(Sending, "too_late", sure)


@breaking
def one_refused_unit_fails_its_group() -> AbstractContextManager[object]:
    send = Sending.send

    async def final(self: Sending, call: Callable[[str], Awaitable[T]], deadline: float) -> T:
        try:
            return await send(self, call, deadline)
        except Rejected as exc:
            raise public(exc, "the write") from exc

    return mock.patch.object(Sending, "send", final)


@breaking
def newcomers_overtake_those_who_wait() -> AbstractContextManager[object]:
    return mock.patch.object(Turnstile, "blocked", property(lambda self: not self._has_room()))


@breaking
def waiting_for_the_opening_without_a_queue() -> AbstractContextManager[object]:
    async def poll(self: Runtime, deadline: float) -> None:
        while not self._opened:
            await asyncio.sleep(0.001)

    return mock.patch.object(Runtime, "_wait_for_opening", poll)


@breaking
def forgetting_what_rang_during_the_read() -> AbstractContextManager[object]:
    wait = Subscription.wait

    async def deaf(self: Subscription, seconds: float) -> None:
        self.clear()
        await wait(self, seconds)

    return mock.patch.object(Subscription, "wait", deaf)


@breaking
def nobody_is_woken_after_an_outage() -> AbstractContextManager[object]:
    wake = WatchHub._wake

    def only_by_name(self: WatchHub, agent: str | None) -> None:
        if agent is not None:
            wake(self, agent)

    return mock.patch.object(WatchHub, "_wake", only_by_name)


@breaking
def watching_with_the_bell_of_an_ended_loop() -> AbstractContextManager[object]:
    def keep(self: WatchIterator, runtime: Runtime) -> Subscription:
        if self._subscription is None:
            self._subscription = runtime.hub.subscribe(self, self._agent)
        return self._subscription

    return mock.patch.object(WatchIterator, "_subscribe", keep)


@breaking
def answers_go_to_the_neighbours() -> AbstractContextManager[object]:
    send = GroupCommit._send

    async def turned(self: GroupCommit, *arguments: Any) -> Any:
        outcomes = await send(self, *arguments)
        return [*outcomes[1:], *outcomes[:1]]

    return mock.patch.object(GroupCommit, "_send", turned)


@breaking
def a_group_in_another_order() -> AbstractContextManager[object]:
    take = GroupCommit._take
    return mock.patch.object(GroupCommit, "_take", lambda self: take(self)[::-1])


@breaking
def acknowledging_before_the_commit() -> AbstractContextManager[object]:
    append = GroupCommit._append

    def hasty(self: GroupCommit, work: Any, size: int, deadline: float) -> Any:
        future = append(self, work, size, deadline)
        if isinstance(work, Unit) and not work.puts:
            answered = asyncio.get_running_loop().create_future()
            answered.set_result(Applied(tuple(range(len(work.appends)))))
            return answered
        return future

    return mock.patch.object(GroupCommit, "_append", hasty)


@breaking
def sending_what_was_said_to_have_timed_out() -> AbstractContextManager[object]:
    take = GroupCommit._take

    def stubborn(self: GroupCommit) -> Any:
        now = self._loop.time()
        for pending in self._queue:
            if pending.deadline <= now and not pending.future.done():
                pending.future.set_exception(StorageTimeoutError("too late; nothing was changed"))
                pending.future, pending.deadline = self._loop.create_future(), now + 10
        return take(self)

    return mock.patch.object(GroupCommit, "_take", stubborn)


@breaking
def a_cancelled_caller_cancels_the_commit() -> AbstractContextManager[object]:
    append = GroupCommit._append

    def tied(self: GroupCommit, work: Any, size: int, deadline: float) -> Any:
        def follow(future: asyncio.Future[Any]) -> None:
            if future.cancelled() and self._runner is not None:
                self._runner.cancel()

        future = append(self, work, size, deadline)
        future.add_done_callback(follow)
        return future

    return mock.patch.object(GroupCommit, "_append", tied)


@breaking
def waiting_for_what_hangs() -> AbstractContextManager[object]:
    return mock.patch.object(resend_module, "_GRACE", 1e5)


@breaking
def deletions_out_of_their_turn() -> AbstractContextManager[object]:
    write = Runtime.write

    async def aside(self: Runtime, step: Any, *, slot: Slot | None = None) -> Any:
        return await write(self, step)

    return mock.patch.object(Runtime, "write", aside)


@breaking
def any_lane_for_a_slot() -> AbstractContextManager[object]:
    turns = iter(range(10**9))
    return mock.patch.object(
        Runtime, "_lane", lambda self, is_agent, name: self._lanes[next(turns) % len(self._lanes)]
    )


@breaking
def closing_without_waiting_for_calls() -> AbstractContextManager[object]:
    return mock.patch.object(Runtime, "__enter__", lambda self: self)


@breaking
def updates_without_the_expected_version() -> AbstractContextManager[object]:
    put: Any = Documents._put

    async def blind(self: Documents, agent: str | None, one: Put) -> Any:
        return await put(self, agent, one._replace(expected=None))

    return mock.patch.object(Documents, "_put", blind)


@breaking
def turns_that_are_not_replayed() -> AbstractContextManager[object]:
    def as_batches(units: list[Unit], snapshot: Snapshot) -> Plan:
        return judge([unit._replace(turn=False) for unit in units], snapshot)

    return mock.patch.object(memory_engine, "judge", as_batches)


@breaking
@contextmanager
def one_exception_for_all_callers() -> Iterator[None]:
    modules = (group_commit_module, runtime_module, turnstile_module)
    patches = [mock.patch.object(module, "own_copy", lambda error: error) for module in modules]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


@pytest.mark.parametrize("name", BREAKS)
def test_it_is_found(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with BREAKS[name]():
        for seed in range(SEEDS):
            if found := violations(World(seed).run()):
                print(f"seed {seed}: {found[0]}")
                return
    pytest.fail(f"{name}: nothing was violated in {SEEDS} seeds")
