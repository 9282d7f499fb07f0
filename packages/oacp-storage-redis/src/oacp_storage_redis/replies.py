"""A server's replies, taken out of the bytes as they come in.

The driver's own parser in Python awaits a stream line by line; this one is called with what the loop has read.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import InvalidResponse, ResponseError


class Replies:
    """The replies of one connection (RESP2). An error of the server is a ``ResponseError`` among them."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 0

    def feed(self, data: bytes) -> list[Any]:
        """The replies that these bytes complete; raises ``InvalidResponse`` for what is none."""
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:  # a large one is not tried again with each piece
                return []
            data = bytes(self._held)
            self._held.clear()
        found, at = [], 0
        try:
            while at < len(data):
                reply, at = _reply(data, at)
                found.append(reply)
        except _Incomplete as exc:
            self._held += data[at:]
            self._wanted = exc.end - at
        return found


class _Incomplete(Exception):
    """A reply goes on after these bytes, at least to ``end``."""

    def __init__(self, end: int) -> None:
        self.end = end


def _reply(data: bytes, at: int) -> tuple[Any, int]:
    """The reply that begins at this position, and the position after it."""
    cut = data.find(b"\r\n", at)
    if cut < 0:
        raise _Incomplete(len(data) + 1)
    kind, text, after = data[at : at + 1], data[at + 1 : cut], cut + 2
    if kind == b"$":
        if text == b"-1":
            return None, after
        end = after + int(text)
        if len(data) < end + 2:
            raise _Incomplete(end + 2)
        return data[after:end], end + 2
    if kind == b":":
        return int(text), after
    if kind == b"+":
        return text, after
    if kind == b"-":
        return ResponseError(text.decode(errors="replace")), after
    if kind != b"*":
        raise InvalidResponse(f"a reply begins with {data[at : at + 20]!r}")
    if text == b"-1":
        return None, after
    items = []
    for _ in range(int(text)):
        item, after = _reply(data, after)
        items.append(item)
    return items, after
