"""Many waits for the disk at once: a file system syncs files together that are synced at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

_WORTH_IT = 32
_THREADS = 8


def do_all(jobs: Sequence[Callable[[], object]]) -> None:
    """Do every job, in any order and at the same time where there are many; the first ``OSError`` comes at the end."""
    if len(jobs) < _WORTH_IT:
        for job in jobs:
            job()
        return
    waiting = iter(jobs)
    guard = threading.Lock()
    failures: list[OSError] = []

    def work() -> None:
        while True:
            with guard:
                job = next(waiting, None)
            if job is None:
                return
            try:
                job()
            except OSError as exc:
                failures.append(exc)

    # Daemons, because nothing may keep the interpreter from exiting.
    threads = [threading.Thread(target=work, name="oacp-storage sync", daemon=True) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
