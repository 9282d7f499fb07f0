"""Resending: one write, until it is known to be done or its time is over.

Nothing is sent under a new attempt id once an earlier sending may have been applied, so that whatever the
connection did, the write happens once.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oacp_storage_core import OutcomeUnknownError, StorageError, StorageTimeoutError

from oacp_storage_engine.primitives import NotApplied, Rejected, Unknown

T = TypeVar("T")

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0
_GRACE = 2.0  # seconds that a primitive may overrun its deadline before it is taken for hung

_ADVICE_UNKNOWN = (
    "it may or may not have been applied: look at the store, or repeat the call with the same ids"
)


async def resend(call: Callable[[str], Awaitable[T]], deadline: float) -> T:
    """Await ``call(attempt)``, again after ``NotApplied`` and ``Unknown``, with growing pauses.

    ``deadline`` is a time of the running loop's clock. Raises ``StorageTimeoutError`` when the write surely
    was not applied by then, ``OutcomeUnknownError`` when it may have been, and ``Rejected`` or another
    ``StorageError`` of the primitive when that settles it.
    """
    loop = asyncio.get_running_loop()
    attempt = os.urandom(16).hex()
    maybe_applied = False
    pause = _FIRST_PAUSE
    while True:
        try:
            async with asyncio.timeout_at(deadline + _GRACE):
                return await call(attempt)
        except NotApplied as exc:
            last: StorageError = exc
        except Unknown as exc:
            maybe_applied = True
            last = exc
        except Rejected:
            raise
        except StorageError as exc:
            if maybe_applied:
                raise OutcomeUnknownError(
                    f"the connection was lost during a write, and then: {exc}; {_ADVICE_UNKNOWN}"
                ) from exc
            raise
        except Exception as exc:  # an engine's bug or a hung driver: nothing is known
            raise OutcomeUnknownError(f"a write ended in {type(exc).__name__}; {_ADVICE_UNKNOWN}") from exc
        wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret
        if loop.time() + wait >= deadline:
            if maybe_applied:
                raise OutcomeUnknownError(
                    f"a write had no answer in time ({last}); {_ADVICE_UNKNOWN}"
                ) from last
            raise StorageTimeoutError(f"not written in time, and nothing was changed: {last}") from last
        await asyncio.sleep(wait)
        pause = min(pause * 2, _LONGEST_PAUSE)
