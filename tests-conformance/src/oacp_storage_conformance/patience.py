"""``soon``: awaits what could hang, so that a hang is a failure that says what hung."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("OACP_STORAGE_PATIENCE", "30"))
"""Seconds after which a call counts as hanging; slow machines may raise it by OACP_STORAGE_PATIENCE."""


async def soon(awaitable: Awaitable[T], what: str, seconds: float | None = None) -> T:
    """The result of ``awaitable``; an ``AssertionError`` naming ``what`` when it takes too long."""
    __tracebackhide__ = True
    patience = PATIENCE if seconds is None else seconds
    limit = asyncio.timeout(patience)
    try:
        async with limit:
            return await awaitable
    except TimeoutError:
        if not limit.expired():  # the storage's own StorageTimeoutError is a TimeoutError too
            raise
        raise AssertionError(f"{what} did not come within {patience:g} s") from None
