"""Dropping connections whose event loop has ended, or that belong to the parent of a forked process."""

from __future__ import annotations

from typing import Any

_inherited: list[object] = []
"""What a forked child got from its parent: kept, so that no finalizer touches what the parent goes on using."""


def keep_untouched(inherited: object) -> None:
    """Leave the parent's connections alone for as long as this process lives."""
    _inherited.append(inherited)


def drop(connection: Any) -> None:
    """Close the connection's socket; the server notices by itself.

    A transport can be closed only by its loop. Where that is closed too, the socket is taken from it and closed
    here, so that it does not stay open until the garbage collector complains about it.
    """
    transport = connection._transport  # noqa: SLF001 - asyncpg has no public way that works without the loop
    secured = getattr(transport, "_ssl_protocol", None)
    transport = getattr(secured, "_transport", transport)
    connection._aborted = True  # noqa: SLF001 - what asyncpg itself sets when it gives a connection up
    socket = getattr(transport, "_sock", None)  # of asyncio's own loops
    if socket is not None:
        transport._sock = None  # noqa: SLF001 - else its finalizer complains
        socket.close()
