"""A turnstile: lets calls pass one by one in the order in which they came, while there is room behind it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from oacp_storage_core import StorageError
from oacp_storage_engine.failure import own_copy


class Turnstile:
    """Calls pass freely while it is not ``blocked``; otherwise each awaits ``enter``.

    They are let in one at a time. Whoever is let in acts before awaiting anything, so the next one finds the room
    that is really left, and nobody overtakes.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._entering = False

    @property
    def blocked(self) -> bool:
        """Whether a call that comes now has to ``enter``."""
        return self._entering or bool(self._waiting) or not self._has_room()

    async def enter(self, deadline: float) -> None:
        """Wait for the turn; then act without awaiting in between. ``TimeoutError`` after the deadline."""
        place: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(place)
        self.let_in()
        try:
            async with asyncio.timeout_at(deadline):
                await place
        finally:
            if place.done() and not place.cancelled():
                self._entering = False
            self.let_in()

    def let_in(self) -> None:
        """Let the next call in, if there is one, and room for it. To be called when room was made."""
        while self._waiting and self._waiting[0].done():  # given up by its caller
            self._waiting.popleft()
        if self._waiting and not self._entering and self._has_room() and not self._loop.is_closed():
            self._entering = True
            self._waiting.popleft().set_result(None)

    def turn_away(self, error: StorageError) -> None:
        """Fail all who wait, each with an error of its own."""
        for place in self._waiting:
            if not place.done():
                place.set_exception(own_copy(error))
        self._waiting.clear()
