"""The watch hub: wakes those who watch an agent, on local commits and on the store's signals.

A wake-up carries no data. Whoever is woken reads the log by sequence, so spurious ones are harmless.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress

from oacp_storage_core import StorageError
from oacp_storage_engine.background import start_task
from oacp_storage_engine.failure import made_public
from oacp_storage_engine.primitives import Engine, Unit

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class Subscription:
    """One watcher's bell. It rings when there may be something to read, and when watching has to end."""

    def __init__(self, hub: WatchHub, agent: str) -> None:
        self.hub = hub
        self.agent = agent
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Wake the watcher, now or when it is going to wait."""
        self._bell.set()

    def clear(self) -> None:
        """Forget what rang; to be called before the read that finds it, so that nothing falls in between."""
        self._bell.clear()

    async def wait(self, seconds: float) -> None:
        """Return when the bell rings, or after ``seconds``."""
        if self.hub.closed:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()


class WatchHub:
    """All subscriptions of one engine, and the task that listens to its signals while there are any."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._subscriptions: dict[str, dict[Subscription, None]] = {}
        self._listener: asyncio.Task[None] | None = None
        self.closed = False

    def subscribe(self, owner: object, agent: str) -> Subscription:
        """A bell for ``owner``; it is taken off when the owner is collected, or by ``unsubscribe``."""
        subscription = Subscription(self, agent)
        if self.closed:
            return subscription
        self._subscriptions.setdefault(agent, {})[subscription] = None
        weakref.finalize(owner, self._collected, subscription).atexit = False
        if self._listener is None:
            self._listener = start_task(self._listen(), "oacp-storage watch signals")
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Take a bell off; doing so twice is harmless. Without any left, listening stops."""
        of_agent = self._subscriptions.get(subscription.agent, {})
        of_agent.pop(subscription, None)
        if not of_agent:
            self._subscriptions.pop(subscription.agent, None)
        if not self._subscriptions and self._listener is not None and not self.closed:
            self._listener.cancel()
            self._listener = None

    def committed(self, units: Sequence[Unit]) -> None:
        """Wake the watchers of agents that these units appended to."""
        if self._subscriptions:
            for unit in units:
                if unit.agent is not None and unit.appends:
                    self._wake(unit.agent)

    def end(self) -> None:
        """End all waiting, and listening as soon as the loop gets to it."""
        self.closed = True
        if self._listener is not None:
            self._listener.cancel()
        self._wake(None)

    async def close(self) -> None:
        """End all waiting and listening."""
        self.end()
        if self._listener is not None:
            await asyncio.wait([self._listener])

    def _collected(self, subscription: Subscription) -> None:
        """A collector may run at any moment in any thread, so the loop is asked to do the rest."""
        if self._pid == os.getpid():  # a forked child would wake its parent's loop
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.unsubscribe, subscription)

    def _wake(self, agent: str | None) -> None:
        watched = self._subscriptions.values() if agent is None else [self._subscriptions.get(agent, ())]
        for subscriptions in watched:
            for subscription in subscriptions:
                subscription.ring()

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                with made_public("listening"):
                    async for agent in self._engine.signals():
                        pause = _FIRST_PAUSE
                        self._wake(agent)
            except StorageError as exc:
                if pause == _FIRST_PAUSE:  # once an outage
                    _log.warning("watching for new interactions was interrupted and goes on: %s", exc)
            self._wake(None)  # whatever was missed meanwhile is found by reading
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
