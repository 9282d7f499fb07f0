"""The load of fault tests and its proof: what is lost, doubled or out of order does not get through."""

from __future__ import annotations

from typing import Any

import pytest

from oacp_storage_conformance.load import Fate, assert_exactly_once, load, more, until_stored, whole_log
from oacp_storage_core import MemoryStorage, OutcomeUnknownError, StorageTimeoutError


@pytest.mark.asyncio
async def test_a_load_on_a_good_storage_happens_exactly_once() -> None:
    async with MemoryStorage() as storage:
        async with load(storage) as fate:
            await more(fate, 100)
        assert len(fate) >= 100
        assert set(fate.values()) == {None}
        await assert_exactly_once(storage, fate)
        await until_stored(storage, "agent 0", 1)
        assert (await whole_log(storage, "agent 0"))[-1].data == {"n": 1}


@pytest.mark.parametrize(
    ("fate", "stored", "wrong"),
    [
        (None, 1, False),
        (None, 0, True),
        (None, 2, True),
        (OutcomeUnknownError("lost"), 0, False),
        (OutcomeUnknownError("lost"), 1, False),
        (OutcomeUnknownError("lost"), 2, True),
        (StorageTimeoutError("late"), 0, False),
        (StorageTimeoutError("late"), 1, True),
        ("under way", 1, True),
    ],
)
@pytest.mark.asyncio
async def test_what_is_not_there_as_it_was_answered_is_told(fate: Any, stored: int, wrong: bool) -> None:
    fates: Fate = {(1, 1): fate}
    async with MemoryStorage() as storage:
        for _ in range(stored):
            await storage.store_interaction("agent 1", {"by": 1, "n": 1})
        if wrong:
            with pytest.raises(AssertionError, match=r"\(1, 1\)"):
                await assert_exactly_once(storage, fates)
        else:
            await assert_exactly_once(storage, fates)
