"""A lane with a full queue: callers wait in their order, memory stays bounded, and giving up leaves no gap."""

import asyncio

import pytest

from lane_calls import FAR, call, lane_over, later, unit
from oacp_storage_core import StorageTimeoutError
from oacp_storage_engine import Applied, group_commit
from scripted_engine import ScriptedEngine
from virtual_loop import START, run


def test_callers_wait_in_order_when_the_queue_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_QUEUED_UNITS", 3)

    async def main() -> None:
        engine = ScriptedEngine(*[0.1] * 100)
        engine.max_group_units = 2
        lane = lane_over(engine)
        deepest = 0
        tasks = []
        for n in range(30):
            tasks.append(later(lane, unit(n)))
            await asyncio.sleep(0.01)
            deepest = max(deepest, len(lane._queue))  # noqa: SLF001 - that it is bounded shows nowhere else
        await asyncio.gather(*tasks)
        assert [name for group in engine.groups for name in group] == [str(n) for n in range(30)]
        assert deepest <= 4

    run(main())


def test_the_queue_is_bounded_in_bytes() -> None:
    async def main() -> None:
        lane = lane_over(ScriptedEngine(*[0.1] * 100))
        mib = 1024 * 1024
        lane.submit(unit("under way"), 1, FAR)
        await asyncio.sleep(0)
        for n in range(16):
            assert not lane.crowded
            lane.submit(unit(n), mib, FAR)
        assert lane.crowded
        waiting = later(lane, unit("next"), mib)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert isinstance(await waiting, Applied)
        await lane.drain()
        assert not lane.crowded

    run(main())


def test_newcomers_do_not_overtake_those_who_were_just_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_QUEUED_UNITS", 1)

    async def main() -> None:
        engine = ScriptedEngine()
        lane = lane_over(engine)

        async def caller(name: str) -> None:
            for n in range(20):
                await call(lane, unit(f"{name}{n}"))
                sent.append(f"{name}{n}")

        sent: list[str] = []
        await asyncio.gather(*(caller(name) for name in "abcde"))
        stored = [name for group in engine.groups for name in group]
        assert [name[0] for name in stored] == list("abcde" * 20)

    run(main())


def test_callers_who_give_up_waiting_leave_no_gap_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_QUEUED_UNITS", 1)

    async def main() -> None:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        tasks = [later(lane, unit(n)) for n in range(10)]
        await asyncio.sleep(0.5)
        for n in (2, 3, 7, 9):
            tasks[n].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one).__name__ for one in done].count("CancelledError") == 4
        assert [name for group in engine.groups for name in group] == ["0", "1", "4", "5", "6", "8"]
        assert not lane.crowded

    run(main())


@pytest.mark.parametrize("steps", range(6))
def test_a_waiting_caller_may_be_cancelled_at_the_moment_of_being_let_in(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_QUEUED_UNITS", 1)

    async def main() -> None:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        tasks = [later(lane, unit(n)) for n in range(5)]
        await asyncio.sleep(1.0)
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        stored = [name for group in engine.groups for name in group]
        assert stored in (["0", "1", "2", "3", "4"], ["0", "1", "3", "4"])
        assert [isinstance(one, Applied) for n, one in enumerate(done) if n != 2] == [True] * 4

    run(main())


def test_a_full_queue_times_out_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_QUEUED_UNITS", 1)

    async def main() -> None:
        engine = ScriptedEngine(100.0)
        lane = lane_over(engine)
        sent, queued = later(lane, unit("sent")), later(lane, unit("queued"))
        await asyncio.sleep(1)
        waiting = [later(lane, unit(n), 1, START + 5) for n in range(3)]
        late = [await one for one in waiting]
        assert all(isinstance(one, StorageTimeoutError) and "nothing was changed" in str(one) for one in late)
        assert asyncio.get_running_loop().time() == START + 5
        await asyncio.gather(sent, queued)
        assert engine.groups == [["sent"], ["queued"]]

    run(main())
