"""Resending: one write under one attempt id, until it is known to be done or its time is over.

Nothing is sent under a new attempt id once an earlier sending may have been applied, so that whatever the
connection did, the write happens once.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oacp_storage_core import (
    OutcomeUnknownError,
    StorageConnectionError,
    StorageError,
    StorageTimeoutError,
)
from oacp_storage_engine.failure import public
from oacp_storage_engine.primitives import NotApplied, Rejected, Unknown

T = TypeVar("T")

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0
_GRACE = 2.0  # seconds that a primitive may overrun its deadline before it is taken for hung

_ADVICE = "it may or may not have been applied: look at the store, or repeat the call with the same ids"


class Sending:
    """One write: its attempt id, and what is known about it so far."""

    def __init__(self) -> None:
        self.attempt = os.urandom(16).hex()
        self.maybe_applied = False
        self._pause = _FIRST_PAUSE

    async def send(self, call: Callable[[str], Awaitable[T]], deadline: float) -> T:
        """Await ``call(attempt)`` once.

        Raises ``NotApplied`` or ``Unknown`` when it should be sent again, ``Rejected`` for the primitive's, and
        any other ``StorageError`` when that settles it.
        """
        try:
            async with asyncio.timeout_at(deadline + _GRACE):
                return await call(self.attempt)
        except Unknown:
            self.maybe_applied = True
            raise
        except (NotApplied, Rejected):
            raise
        except asyncio.CancelledError:
            self.maybe_applied = True
            raise
        except StorageError as exc:
            if self.maybe_applied:
                raise OutcomeUnknownError(
                    f"the connection was lost during a write, and then: {exc}; {_ADVICE}"
                ) from exc
            raise
        except TimeoutError as exc:  # it hung, and may have been applied
            self.maybe_applied = True
            raise Unknown("the store did not answer") from exc
        except Exception as exc:
            raise defect(exc) from exc

    def next_pause(self) -> float:
        """Seconds to wait before sending again; they grow, and are spread so that processes do not meet."""
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret

    def too_late(self, last: StorageError) -> StorageError:
        """The error for a caller whose time is over; ``last`` is how the last sending ended."""
        error: StorageError
        if self.maybe_applied:
            error = OutcomeUnknownError(f"a write had no answer in time ({last}); {_ADVICE}")
        else:
            error = StorageTimeoutError(f"not written in time, and nothing was changed: {last}")
        error.__cause__ = last
        return error

    def interrupted(self) -> StorageError:
        """The error for a caller when the task that sends was cancelled, though the caller was not."""
        if self.maybe_applied:
            return OutcomeUnknownError(f"a write was interrupted; {_ADVICE}")
        return StorageConnectionError("a write was interrupted before it was sent; nothing was changed")


async def resend(call: Callable[[str], Awaitable[T]], deadline: float, sending: Sending | None = None) -> T:
    """Await ``call(attempt)``, again after ``NotApplied`` and ``Unknown``, with growing pauses.

    ``deadline`` is a time of the running loop's clock. Raises ``StorageTimeoutError`` when the write surely was
    not applied by then, ``OutcomeUnknownError`` when it may have been, and another ``StorageError`` of the
    primitive when that settles it.
    """
    loop = asyncio.get_running_loop()
    sending = sending or Sending()
    while True:
        try:
            return await sending.send(call, deadline)
        except Rejected as exc:
            raise public(exc, "the write") from exc
        except (NotApplied, Unknown) as exc:
            pause = sending.next_pause()
            if loop.time() + pause >= deadline:
                raise sending.too_late(exc) from exc
        await asyncio.sleep(pause)


def defect(exc: Exception) -> OutcomeUnknownError:
    """The error for a caller when a write ended in what no engine should raise: nothing is known."""
    error = OutcomeUnknownError(f"a write ended in {type(exc).__name__}; {_ADVICE}")
    error.__cause__ = exc
    return error
