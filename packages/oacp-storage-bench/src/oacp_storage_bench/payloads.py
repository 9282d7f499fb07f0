"""What is stored: messages of an agent with a tool call, each as large as its text makes it."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

KILOBYTE = 1_000
DOCUMENT = 8_000
DIFFERENT = 64

encode = msgspec.json.Encoder().encode

_TEXT = "The parcel left the warehouse in Rotterdam and is due on Thursday. "


@cache
def messages(size: int = KILOBYTE) -> tuple[dict[str, Any], ...]:
    """Some different messages, each of about ``size`` bytes as JSON."""
    return tuple(_message(size, n) for n in range(DIFFERENT))


def message(n: int, size: int = KILOBYTE) -> dict[str, Any]:
    """The n-th message; they begin again after some."""
    return messages(size)[n % DIFFERENT]


def _message(size: int, n: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "tool_call", "role": "assistant", "turn": n, "content": ""}
    if size >= 400:
        made["tool"] = {"name": "track_parcel", "arguments": {"parcel": f"NL-{n:04}", "limit": 25}}
        made["result"] = {"status": "in transit", "km": 312.4, "stops": ["Rotterdam", "Arnhem"], "eta": None}
    missing = max(size - len(encode(made)), 0)
    made["content"] = (_TEXT * (missing // len(_TEXT) + 1))[:missing]
    return made
