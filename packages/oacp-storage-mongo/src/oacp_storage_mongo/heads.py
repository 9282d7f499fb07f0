"""What this process remembers of agents: that they exist, and their last sequences.

A memory may be out of date, since other processes write too. It is never trusted: a place in a log is taken by its
``_id``, which exists once. It only has to be younger than what keeps the places of deleted interactions taken
(``layout``), so it is forgotten after a minute.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple

_SECONDS = 60.0
_MOST = 20_000


class Head(NamedTuple):
    """An agent that exists: which incarnation of its name, and its last sequence."""

    incarnation: bytes
    last: int


class Heads:
    """The memory of one engine."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Head, float, float]] = OrderedDict()

    def get(self, agent: str) -> Head | None:
        """The head, if it was learnt lately by two clocks: one stands still while the machine sleeps."""
        found = self._known.get(agent)
        if found is None:
            return None
        head, ticks, seconds = found
        if 0 <= time.monotonic() - ticks < _SECONDS and abs(time.time() - seconds) < _SECONDS:
            return head
        del self._known[agent]
        return None

    def learn(self, agent: str, head: Head) -> None:
        """What was just read, or written and confirmed."""
        self._known[agent] = (head, time.monotonic(), time.time())
        self._known.move_to_end(agent)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def forget(self, agent: str) -> None:
        """It was wrong, or may be."""
        self._known.pop(agent, None)

    def forget_all(self) -> None:
        """Others have written, nobody knows where."""
        self._known.clear()
