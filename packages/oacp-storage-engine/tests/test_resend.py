"""Resending one write: which errors come of what happened, and that nothing happens twice."""

import asyncio

import pytest

from oacp_storage_core import (
    CorruptDataError,
    OutcomeUnknownError,
    SchemaVersionError,
    StorageError,
    StorageTimeoutError,
)
from oacp_storage_engine import NotApplied, Rejected, Unknown
from oacp_storage_engine.failure import own_copy
from oacp_storage_engine.resend import resend
from virtual_loop import START, run


class Primitive:
    """Does what its script says, once each, and then succeeds. An endless script repeats its last step."""

    def __init__(self, *script: BaseException | float, endless: bool = False) -> None:
        self.script = list(script)
        self.endless = endless
        self.attempts: list[str] = []

    async def __call__(self, attempt: str) -> str:
        self.attempts.append(attempt)
        step = (
            self.script[0]
            if self.endless and len(self.script) == 1
            else self.script.pop(0)
            if self.script
            else 0
        )
        if isinstance(step, BaseException):
            raise step
        await asyncio.sleep(step)
        return "done"


def away() -> NotApplied:
    return NotApplied("connection refused")


def lost() -> Unknown:
    return Unknown("connection reset")


@pytest.mark.parametrize("script", [[], [away()], [lost()], [away(), lost(), away(), lost(), lost()]])
def test_it_is_sent_until_it_is_done_under_one_attempt(script: list[BaseException]) -> None:
    primitive = Primitive(*script)
    assert run(resend(primitive, START + 30)) == "done"
    assert len(primitive.attempts) == len(script) + 1
    assert len(set(primitive.attempts)) == 1


def test_attempts_of_different_writes_differ() -> None:
    primitive = Primitive()

    async def main() -> None:
        await resend(primitive, START + 30)
        await resend(primitive, START + 30)

    run(main())
    assert len(set(primitive.attempts)) == 2


def failure_of(primitive: Primitive, seconds: float = 10) -> StorageError:
    async def main() -> StorageError:
        with pytest.raises(StorageError) as caught:
            await resend(primitive, START + seconds)
        assert asyncio.get_running_loop().time() <= START + seconds + 2.1
        return caught.value

    return run(main())


def test_what_surely_was_not_applied_in_time_has_timed_out() -> None:
    error = failure_of(Primitive(away(), endless=True))
    assert type(error) is StorageTimeoutError
    assert "nothing was changed: connection refused" in str(error)
    assert isinstance(error.__cause__, NotApplied)


@pytest.mark.parametrize(
    "script", [[lost()], [lost(), away()], [away(), lost(), away()]], ids=["lost", "then away", "between"]
)
def test_what_may_have_been_applied_is_unknown(script: list[BaseException]) -> None:
    error = failure_of(Primitive(*script, endless=True))
    assert type(error) is OutcomeUnknownError
    assert "repeat the call with the same ids" in str(error)


def test_it_waits_longer_and_longer() -> None:
    primitive = Primitive(away(), endless=True)
    failure_of(primitive, 60)
    assert 60 <= len(primitive.attempts) <= 140


def test_what_hangs_is_given_up_soon_after_its_deadline() -> None:
    assert type(failure_of(Primitive(1e6))) is OutcomeUnknownError


def test_other_errors_of_the_store_are_final() -> None:
    error = SchemaVersionError("version 9")
    assert failure_of(Primitive(error)) is error


def test_other_errors_after_a_lost_reply_settle_nothing() -> None:
    error = failure_of(Primitive(lost(), SchemaVersionError("version 9")))
    assert type(error) is OutcomeUnknownError
    assert "version 9" in str(error)


def test_a_refusal_is_told_in_words_that_callers_may_see() -> None:
    error = failure_of(Primitive(Rejected("too large")))
    assert type(error) is StorageError
    assert "the write was refused by the store: too large" in str(error)


@pytest.mark.parametrize("raised", [ValueError("password=secret"), TimeoutError("driver"), OSError(5)])
def test_exceptions_of_drivers_do_not_get_through(raised: Exception) -> None:
    error = failure_of(Primitive(raised, endless=True))
    assert type(error) is OutcomeUnknownError
    assert "secret" not in str(error)
    assert error.__cause__ is not None


def test_a_cancelled_caller_is_cancelled() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(resend(Primitive(5.0), START + 30))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_copies_of_errors_keep_what_they_carry() -> None:
    error = CorruptDataError("damaged", agent_id="ann", sequence=3, key="k")
    error.__cause__ = ValueError("x")
    error.add_note("note")
    copy = own_copy(error)
    assert copy is not error
    assert (type(copy), str(copy), copy.agent_id, copy.sequence, copy.key) == (
        CorruptDataError,
        "damaged",
        "ann",
        3,
        "k",
    )
    assert copy.__cause__ is error.__cause__
    assert copy.__notes__ == ["note"]
    timeout = own_copy(StorageTimeoutError("late"))
    assert (type(timeout), str(timeout)) == (StorageTimeoutError, "late")
