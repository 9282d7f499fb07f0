"""An event loop whose time passes only when nothing is left to do, and whose order of callbacks is drawn from a seed.

Timeouts cost nothing in it, and a run with the same seed is the same run. Where all tasks wait for something that
nobody will do, it raises ``Deadlock`` instead of hanging.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

START = 1000.0


class Deadlock(AssertionError):
    """Everything waits, and nothing is scheduled."""


class _Silent(selectors.BaseSelector):
    """Watches nothing: waiting for files means that time passes."""

    def __init__(self, wait: Callable[[float | None], None]) -> None:
        self._wait = wait

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._wait(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """With ``shuffle``, callbacks that are ready at the same time run in an order drawn from it.

    ``reports`` collects what asyncio would log: exceptions that nobody retrieved, tasks destroyed, and so on.
    """

    def __init__(self, shuffle: random.Random | None = None, *, start: float = START) -> None:
        self.now = start
        self._shuffle = shuffle
        self.reports: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        super().__init__(_Silent(self._pass_time))
        self.set_exception_handler(self._report)

    def time(self) -> float:
        return self.now

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **options)
        self.tasks.append(task)  # asyncio.all_tasks() is in no order
        return task

    def _pass_time(self, timeout: float | None) -> None:
        if timeout is None:
            raise Deadlock("all tasks wait, and nothing is scheduled")
        self.now += max(timeout, 0.0)
        ready: Any = getattr(self, "_ready")  # noqa: B009 - asyncio has no public way to reorder callbacks
        if self._shuffle is not None and len(ready) > 1:
            handles = list(ready)
            self._shuffle.shuffle(handles)
            ready.clear()
            ready.extend(handles)

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.reports.append(f"{context.get('message')} {context.get('exception')!r}")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a loop of its own, as ``asyncio.run`` does, and fail when asyncio had to report something."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        rest = [task for task in loop.tasks if not task.done()]
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
    assert not loop.reports, loop.reports
    return result
