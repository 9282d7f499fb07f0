"""One lane of group commit: what goes into a group, who waits, who is answered when, and with what."""

import asyncio
from collections.abc import Sequence

import pytest

from lane_calls import FAR, call, lane_over, later, unit
from oacp_storage_core import (
    OutcomeUnknownError,
    SchemaVersionError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
)
from oacp_storage_engine import (
    Applied,
    Erased,
    NotApplied,
    Outcome,
    Rejected,
    Unit,
    Unknown,
)
from oacp_storage_engine.group_commit import GroupCommit
from scripted_engine import ScriptedEngine
from virtual_loop import START, run

# --- groups -----------------------------------------------------------------------------------------------


def test_what_arrives_during_a_commit_is_committed_together_next() -> None:
    async def main() -> None:
        engine = ScriptedEngine(1.0, 1.0)
        lane = lane_over(engine)
        tasks = [later(lane, unit("first"))]
        for n in range(5):
            await asyncio.sleep(0.1)
            tasks.append(later(lane, unit(n)))
        outcomes = await asyncio.gather(*tasks)
        assert engine.groups == [["first"], ["0", "1", "2", "3", "4"]]
        assert [one.sequences for one in outcomes if isinstance(one, Applied)] == [(n,) for n in range(1, 7)]

    run(main())


def test_there_is_no_artificial_delay_and_no_task_per_call() -> None:
    async def main() -> None:
        engine = ScriptedEngine(*[1.0] * 10)
        lane = lane_over(engine)
        before = len(asyncio.all_tasks())
        futures = [lane.submit(unit(n), 1, FAR) for n in range(100)]
        assert len(asyncio.all_tasks()) == before + 1
        await asyncio.gather(*futures)
        assert asyncio.get_running_loop().time() == START + 1.0
        assert len(engine.groups) == 1

    run(main())


def test_callers_just_answered_join_the_next_group() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        lane = lane_over(engine)

        async def caller(name: str) -> None:
            for n in range(3):
                await call(lane, unit(f"{name}{n}"))

        await asyncio.gather(*(caller(name) for name in "abc"))
        assert engine.groups == [["a0", "b0", "c0"], ["a1", "b1", "c1"], ["a2", "b2", "c2"]]

    run(main())


def test_a_group_closes_at_four_mebibytes_unless_one_unit_is_larger() -> None:
    async def main() -> list[list[str]]:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        mib = 1024 * 1024
        sizes = {"first": 1, "a": mib, "b": 3 * mib, "c": 1, "d": 9 * mib, "e": mib, "f": mib}
        await asyncio.gather(*(lane.submit(unit(name), size, FAR) for name, size in sizes.items()))
        return engine.groups

    assert run(main()) == [["first", "a"], ["b", "c"], ["d"], ["e", "f"]]


def test_a_group_closes_at_so_many_units() -> None:
    async def main() -> list[int]:
        engine = ScriptedEngine()
        engine.max_group_units = 4
        lane = lane_over(engine)
        await asyncio.gather(*(lane.submit(unit(n), 1, FAR) for n in range(10)))
        return [len(group) for group in engine.groups]

    assert run(main()) == [4, 4, 2]


def test_watchers_are_told_of_every_applied_group_before_callers_are_answered() -> None:
    async def main() -> None:
        seen: list[str] = []
        lane = GroupCommit(ScriptedEngine(), lambda units: seen.append(f"applied {len(units)}"))
        tasks = [lane.submit(unit(n), 1, FAR) for n in range(2)]
        tasks[0].add_done_callback(lambda future: seen.append("answered"))
        await asyncio.gather(*tasks)
        assert seen == ["applied 2", "answered"]

    run(main())


def test_draining_waits_for_what_nobody_waits_for() -> None:
    async def main() -> None:
        engine = ScriptedEngine(1.0, 1.0)
        lane = lane_over(engine)
        first = lane.submit(unit("first"), 1, FAR)
        await asyncio.sleep(0.1)
        lane.submit(unit("second"), 1, FAR)
        first.cancel()
        await lane.drain()
        assert engine.groups == [["first"], ["second"]]
        await lane.drain()

    run(main())


# --- cancelling -------------------------------------------------------------------------------------------


def test_a_call_cancelled_before_it_is_sent_is_taken_back() -> None:
    async def main() -> list[list[str]]:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        tasks = [later(lane, unit(n)) for n in range(1)]
        await asyncio.sleep(0.5)
        tasks += [later(lane, unit(n)) for n in range(1, 4)]
        await asyncio.sleep(0.1)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return engine.groups

    assert run(main()) == [["0"], ["1", "3"]]


def test_a_call_cancelled_after_it_is_sent_happens_wholly_and_disturbs_nobody() -> None:
    async def main() -> None:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        tasks = [later(lane, unit(n)) for n in range(3)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in done] == [Applied, asyncio.CancelledError, Applied]
        assert engine.groups == [["0", "1", "2"]]

    run(main())


@pytest.mark.parametrize("turns", range(4))
def test_a_sender_cancelled_before_it_began_is_replaced(turns: int) -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        lane = lane_over(engine)
        queued = later(lane, unit("queued"))
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task(), queued}:
            task.cancel()
        outcome = await queued
        assert isinstance(outcome, Applied | OutcomeUnknownError | StorageConnectionError)
        assert isinstance(await call(lane, unit("next")), Applied)
        await lane.drain()

    run(main())


def test_a_write_interrupted_while_surely_nothing_was_applied_says_so() -> None:
    async def main() -> None:
        lane = lane_over(ScriptedEngine(NotApplied("away")))
        waiting = later(lane, unit("waiting"))
        await asyncio.sleep(0.001)
        for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
            task.cancel()
        error = await waiting
        assert isinstance(error, StorageConnectionError)
        assert "nothing was changed" in str(error)

    run(main())


def test_a_cancelled_sender_answers_everybody_and_another_one_takes_over() -> None:
    """As when a shutdown handler cancels all tasks, and the storage is used again."""

    async def main() -> None:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        sent = [later(lane, unit(n)) for n in range(2)]
        await asyncio.sleep(0.5)
        queued = [later(lane, unit(n)) for n in range(2, 4)]
        await asyncio.sleep(0.1)
        (sender,) = [task for task in asyncio.all_tasks() if task.get_name() == "oacp-storage group commit"]
        sender.cancel()
        assert [type(one) for one in await asyncio.gather(*sent)] == [OutcomeUnknownError] * 2
        assert [type(one) for one in await asyncio.gather(*queued)] == [Applied] * 2
        assert engine.groups == [["2", "3"]]

    run(main())


# --- failures ---------------------------------------------------------------------------------------------


def test_a_group_is_sent_again_under_its_attempt_until_it_is_known() -> None:
    async def main() -> None:
        engine = ScriptedEngine(NotApplied("busy"))
        engine.script += [engine.lose_reply, NotApplied("away"), Unknown("away")]
        lane = lane_over(engine)
        outcomes = await asyncio.gather(*(later(lane, unit(n)) for n in range(2)))
        assert [type(one) for one in outcomes] == [Applied, Applied]
        assert len({attempt for attempt, *_ in engine.sent}) == 1
        assert len(engine.sent) == 5
        assert engine.groups == [["0", "1"]]

    run(main())


def test_what_was_cancelled_meanwhile_is_not_sent_again_if_nothing_was_applied() -> None:
    async def main() -> list[list[str]]:
        engine = ScriptedEngine(NotApplied("busy"))
        lane = lane_over(engine)
        tasks = [later(lane, unit(n)) for n in range(3)]
        await asyncio.sleep(0.001)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return engine.groups

    assert run(main()) == [["1", "2"]]


def test_a_group_that_may_have_been_applied_stays_as_it_is() -> None:
    async def main() -> None:
        engine = ScriptedEngine(Unknown("lost"))
        lane = lane_over(engine)
        tasks = [later(lane, unit(n)) for n in range(3)]
        await asyncio.sleep(0.001)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert engine.groups == [["0", "1", "2"]]

    run(main())


def test_one_unit_that_the_store_refuses_fails_alone() -> None:
    async def main() -> None:
        engine = ScriptedEngine()

        async def refuse(attempt: str, units: Sequence[Unit]) -> list[Outcome]:
            if any(one.appends[0].body == b"13" for one in units):
                raise Rejected("the row is too large")
            return engine.apply(attempt, units)

        engine.script.extend([refuse] * 100)
        lane = lane_over(engine)
        outcomes = await asyncio.gather(*(later(lane, unit(n)) for n in range(64)))
        (refused,) = [one for one in outcomes if not isinstance(one, Applied)]
        assert outcomes.index(refused) == 13
        assert type(refused) is StorageError
        assert str(refused) == "the write was refused by the store: the row is too large"
        assert isinstance(refused.__cause__, Rejected)
        assert [name for group in engine.groups for name in group] == [str(n) for n in range(64) if n != 13]
        assert len(engine.sent) <= 2 * 6 + 1  # by halves, not one by one

    run(main())


def test_a_store_may_tell_which_unit_it_refuses() -> None:
    async def main() -> None:
        engine = ScriptedEngine()

        async def refuse_second(attempt: str, units: Sequence[Unit]) -> list[Outcome | Rejected]:
            first, third = engine.apply(attempt, [units[0], units[2]])
            return [first, Rejected("the row is too large"), third]

        engine.script.append(refuse_second)
        lane = lane_over(engine)
        outcomes = await asyncio.gather(*(later(lane, unit(n)) for n in range(3)))
        assert [type(one) for one in outcomes] == [Applied, StorageError, Applied]
        assert str(outcomes[1]) == "the write was refused by the store: the row is too large"
        assert len(engine.sent) == 1

    run(main())


def test_an_error_that_settles_it_reaches_every_caller_as_its_own() -> None:
    async def main() -> None:
        lane = lane_over(ScriptedEngine(SchemaVersionError("version 9")))
        errors = await asyncio.gather(*(later(lane, unit(n)) for n in range(3)))
        assert [(type(one), str(one)) for one in errors] == [(SchemaVersionError, "version 9")] * 3
        assert len({id(one) for one in errors}) == 3

    run(main())


@pytest.mark.parametrize("bug", [KeyError("x"), ValueError("password=secret")])
def test_a_defect_of_the_engine_leaves_the_outcome_unknown(bug: Exception) -> None:
    async def main() -> None:
        error = await later(lane_over(ScriptedEngine(bug)), unit(1))
        assert isinstance(error, OutcomeUnknownError)
        assert "secret" not in str(error)
        assert error.__cause__ is bug

    run(main())


def test_a_wrong_number_of_outcomes_is_a_defect_too() -> None:
    async def too_few(attempt: str, units: Sequence[Unit]) -> list[Outcome]:
        return [Applied((1,))]

    async def main() -> None:
        lane = lane_over(ScriptedEngine(too_few))
        errors = await asyncio.gather(*(later(lane, unit(n)) for n in range(2)))
        assert [type(one) for one in errors] == [OutcomeUnknownError] * 2

    run(main())


# --- time -------------------------------------------------------------------------------------------------


def test_what_waited_its_whole_time_in_the_queue_is_not_sent() -> None:
    async def main() -> None:
        engine = ScriptedEngine(10.0)
        lane = lane_over(engine)
        first = later(lane, unit("first"))
        await asyncio.sleep(0.1)
        late, patient = later(lane, unit("late"), 1, START + 5), later(lane, unit("patient"))
        error = await late
        assert isinstance(error, StorageTimeoutError)
        assert "nothing was changed" in str(error)
        await asyncio.gather(first, patient)
        assert engine.groups == [["first"], ["patient"]]

    run(main())


@pytest.mark.parametrize(
    ("failure", "error"), [(NotApplied("away"), StorageTimeoutError), (Unknown("away"), OutcomeUnknownError)]
)
def test_each_caller_of_a_group_fails_at_its_own_time(failure: Exception, error: type[Exception]) -> None:
    async def main() -> None:
        engine = ScriptedEngine(*[failure] * 6)
        lane = lane_over(engine)
        hasty, patient = later(lane, unit("hasty"), 1, START + 0.1), later(lane, unit("patient"))
        assert isinstance(await hasty, error)
        assert asyncio.get_running_loop().time() <= START + 0.1
        assert isinstance(await patient, Applied)
        assert engine.groups == [["patient"] if error is StorageTimeoutError else ["hasty", "patient"]]

    run(main())


def test_a_store_that_hangs_is_given_up_for_each_caller_in_time() -> None:
    async def main() -> None:
        engine = ScriptedEngine(1e6, 1e6, 1e6)
        lane = lane_over(engine)
        tasks = [later(lane, unit(n), 1, START + deadline) for n, deadline in enumerate((10, 20))]
        await asyncio.wait([tasks[0]])
        assert START + 10 <= asyncio.get_running_loop().time() <= START + 13
        await asyncio.wait([tasks[1]])
        assert START + 20 <= asyncio.get_running_loop().time() <= START + 23
        assert [type(task.result()) for task in tasks] == [OutcomeUnknownError] * 2

    run(main())


def test_a_sending_gets_some_time_although_its_first_caller_has_none() -> None:
    async def main() -> None:
        engine = ScriptedEngine(9.99, 0.5)
        lane = lane_over(engine, least_time=1.0)
        first = later(lane, unit("first"), 1, START + 10)
        await asyncio.sleep(0.1)
        second = later(lane, unit("second"), 1, START + 10)
        assert [type(one) for one in await asyncio.gather(first, second)] == [Applied, Applied]
        assert [deadline for *_, deadline in engine.sent] == [START + 10, START + 9.99 + 1.0]

    run(main())


# --- steps besides units ----------------------------------------------------------------------------------


def test_a_step_takes_its_turn_among_the_units() -> None:
    async def main() -> None:
        engine = ScriptedEngine(1.0)
        lane = lane_over(engine)
        tasks = [later(lane, unit("a"))]
        await asyncio.sleep(0.1)
        tasks.append(later(lane, unit("b")))
        await asyncio.sleep(0)

        async def step(attempt: str, deadline: float) -> Erased:
            assert engine.groups == [["a"], ["b"]]
            return Erased(7)

        done = lane.perform(step, FAR)
        tasks.append(later(lane, unit("c")))
        assert await done == Erased(7)
        await asyncio.gather(*tasks)
        assert engine.groups == [["a"], ["b"], ["c"]]

    run(main())


def test_a_step_is_resent_and_its_caller_may_go() -> None:
    async def main() -> None:
        lane = lane_over(ScriptedEngine())
        attempts: list[str] = []

        async def step(attempt: str, deadline: float) -> Erased:
            attempts.append(attempt)
            await asyncio.sleep(0.1)
            if len(attempts) < 3:
                raise Unknown("lost")
            return Erased()

        future = lane.perform(step, FAR)
        await asyncio.sleep(0.05)
        future.cancel()
        assert isinstance(await call(lane, unit("after")), Applied)
        assert len(attempts) == 3
        assert len(set(attempts)) == 1

    run(main())
