"""The watch hub: wakes those who watch an agent, on local commits and on the store's signals.

A wake-up carries no data. Whoever is woken reads the log by sequence, so spurious ones are harmless.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Sequence

from oacp_storage_core import StorageError

from oacp_storage_engine.primitives import Engine, Unit

_log = logging.getLogger(__name__)

_PAUSE_AFTER_ERROR = 0.5


class Subscription:
    """One watcher's bell. ``ring`` is set when there may be something to read, and when the hub closes."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.ring = asyncio.Event()


class WatchHub:
    """All subscriptions of one open engine, and the task that listens to its signals while there are any."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._listener: asyncio.Task[None] | None = None
        self.closed = False

    def subscribe(self, owner: object, agent: str) -> Subscription:
        """A bell for ``owner``; it is taken off when the owner is collected or ``unsubscribe`` is called."""
        subscription = Subscription(agent)
        self._subscriptions.setdefault(agent, set()).add(subscription)
        weakref.finalize(owner, self.unsubscribe, subscription).atexit = False
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = loop.create_task(self._listen(), name="oacp-storage watch signals")
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Take a bell off; doing so twice is harmless. Without any left, listening stops."""
        of_agent = self._subscriptions.get(subscription.agent, set())
        of_agent.discard(subscription)
        if not of_agent:
            self._subscriptions.pop(subscription.agent, None)
        if not self._subscriptions and self._listener is not None:
            listener, self._listener = self._listener, None
            loop = listener.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(listener.cancel)  # a collector may run in any thread

    def committed(self, units: Sequence[Unit]) -> None:
        """Wake the watchers of agents that these units appended to."""
        if self._subscriptions:
            for unit in units:
                if unit.agent is not None and unit.appends:
                    self._wake(unit.agent)

    def close(self) -> None:
        """End all waiting; watchers find ``closed``."""
        self.closed = True
        self._wake(None)
        if self._listener is not None:
            self._listener.cancel()
            self._listener = None

    def _wake(self, agent: str | None) -> None:
        if agent is not None:
            for subscription in self._subscriptions.get(agent, ()):
                subscription.ring.set()
            return
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.ring.set()

    async def _listen(self) -> None:
        while True:
            try:
                async for agent in self._engine.signals():
                    self._wake(agent)
            except StorageError as exc:
                _log.warning("watching for new interactions was interrupted and goes on: %s", exc)
            self._wake(None)  # whatever was missed meanwhile is found by reading
            await asyncio.sleep(_PAUSE_AFTER_ERROR)
