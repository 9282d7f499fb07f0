"""Dropping clients whose event loop has ended, or that belong to the parent of a forked process."""

from __future__ import annotations

import contextlib
from typing import Any

_inherited: list[object] = []
"""What a forked child got from its parent: kept, so that no finalizer touches what the parent goes on using."""


def keep_untouched(inherited: object) -> None:
    """Leave the parent's client alone for as long as this process lives."""
    _inherited.append(inherited)


def drop_client(client: Any) -> None:
    """End an asynchronous PyMongo client whose loop cannot be used.

    PyMongo ends a client only by awaiting, which needs the loop. So what that would do is done here: tasks are
    cancelled where the loop still can, sockets closed, and the client is marked as closed. A release of PyMongo that is
    made differently leaves more to the garbage collector.
    """
    with contextlib.suppress(AttributeError):
        _drop(client)


def _drop(client: Any) -> None:
    client._closed = True  # noqa: SLF001 - as its close() does; there is no public way without the loop
    topology = client._topology  # noqa: SLF001
    client._kill_cursors_executor._stopped = True  # noqa: SLF001
    tasks = [client._kill_cursors_executor._task]  # noqa: SLF001
    for server in list(getattr(topology, "_servers", {}).values()):
        monitor, pools = server._monitor, [server._pool]  # noqa: SLF001
        rtt = getattr(monitor, "_rtt_monitor", None)
        for part in (monitor, rtt):
            executor = getattr(part, "_executor", None)
            if executor is not None:
                executor._stopped = True  # noqa: SLF001
                tasks.append(executor._task)  # noqa: SLF001
            if part is not None and getattr(part, "_pool", None) is not None:
                pools.append(part._pool)  # noqa: SLF001
        connections = [one for pool in pools for one in list(pool.conns)]
        connections.append(getattr(monitor, "_stream", None))
        for connection in connections:
            _drop_connection(connection)
    for task in tasks:
        _cancel(task)


def _cancel(task: Any) -> None:
    if task is None or task.done():
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed
        task.get_loop().call_soon_threadsafe(task.cancel)
    task._log_destroy_pending = False  # noqa: SLF001 - the mark that asyncio sets on tasks that it gives up


def _drop_connection(connection: Any) -> None:
    interface = getattr(connection, "conn", None)
    pair = getattr(interface, "conn", None)
    if not isinstance(pair, tuple):
        return
    transport = pair[0]
    secured = getattr(transport, "_ssl_protocol", None)
    transport = getattr(secured, "_transport", transport)
    if transport is None:
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed
        transport.abort()
        return
    finish = getattr(transport, "_call_connection_lost", None)  # of asyncio's own loops
    if finish is not None:
        finish(None)
