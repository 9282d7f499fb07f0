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

    def __init__(self, hub: WatchHub, agent: str, owner: object) -> None:
        self.hub = hub
        self.agent = agent
        self._bell = asyncio.Event()
        self._finalizer = weakref.finalize(owner, hub.collected, self)
        self._finalizer.atexit = False

    def release(self) -> None:
        """Forget the owner, who has got another bell."""
        self._finalizer.detach()
        self.hub.collected(self)

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
        self._unfinished: set[asyncio.Task[None]] = set()  # listeners, those included that are being stopped
        self.closed = False

    def subscribe(self, owner: object, agent: str) -> Subscription:
        """A bell for ``owner``; it is taken off when the owner is collected or releases it."""
        subscription = Subscription(self, agent, owner)
        if self.closed:
            return subscription
        self._subscriptions.setdefault(agent, {})[subscription] = None
        return subscription

    def listen(self) -> None:
        """Listen to the store's signals, if nobody does."""
        if self.closed or not (self._listener is None or self._listener.done()):
            return
        self._listener = start_task(self._listen(frozenset(self._unfinished)), "oacp-storage watch signals")
        self._unfinished.add(self._listener)
        self._listener.add_done_callback(self._stopped_listening)

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

    async def close(self, timeout: float) -> None:
        """End all waiting and listening, for which the engine has ``timeout`` seconds."""
        self.end()
        if self._unfinished:
            await asyncio.wait(self._unfinished, timeout=timeout)

    def collected(self, subscription: Subscription) -> None:
        """Take a bell off. A collector may run at any moment in any thread, so the loop is asked to do it."""
        if self._pid == os.getpid():  # a forked child would wake its parent's loop
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._unsubscribe, subscription)

    def _stopped_listening(self, listener: asyncio.Task[None]) -> None:
        self._unfinished.discard(listener)
        self._wake(None)  # if it was cancelled from outside, whoever is woken listens again

    def _unsubscribe(self, subscription: Subscription) -> None:
        of_agent = self._subscriptions.get(subscription.agent, {})
        of_agent.pop(subscription, None)
        if not of_agent:
            self._subscriptions.pop(subscription.agent, None)
        if not self._subscriptions and self._listener is not None and not self.closed:
            self._listener.cancel()
            self._listener = None

    def _wake(self, agent: str | None) -> None:
        watched = self._subscriptions.values() if agent is None else [self._subscriptions.get(agent, ())]
        for subscriptions in watched:
            for subscription in subscriptions:
                subscription.ring()

    async def _listen(self, earlier: frozenset[asyncio.Task[None]]) -> None:
        if earlier:
            await asyncio.wait(earlier)  # an engine listens once at a time
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
