"""Dropping connections whose event loop has ended, or that belong to the parent of a forked process."""

from __future__ import annotations

import contextlib
from typing import Any

_inherited: list[object] = []
"""What a forked child got from its parent: kept, so that no finalizer touches what the parent goes on using."""


def keep_untouched(inherited: object) -> None:
    """Leave the parent's connections alone for as long as this process lives."""
    _inherited.append(inherited)


def drop(connection: Any) -> None:
    """Close the connection's socket at once; the server notices by itself.

    A transport can be closed only by its loop. Where that is closed too, what the loop would have called is
    called here, so that the socket does not stay open until the garbage collector complains about it.
    """
    writer = connection._writer  # noqa: SLF001 - redis-py has no public way that works without the loop
    connection._writer = connection._reader = None  # noqa: SLF001 - as its own disconnect does
    if writer is None:
        return
    transport = writer.transport
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
