"""Replies are the same however the bytes of a connection are divided into pieces."""

from __future__ import annotations

import random
from typing import Any

import pytest
from redis.exceptions import InvalidResponse, ResponseError

from oacp_storage_redis.replies import Replies


def encoded(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join([encoded(item) for item in reply])


def random_reply(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(4 if depth < 3 else 3)
    if kind == 3:
        return [random_reply(rng, depth + 1) for _ in range(rng.randrange(4))]
    text = rng.choice([b"", b"\r\n", b"$5\r\n", b"-ERR\r\n", rng.randbytes(rng.randrange(3000))])
    return (None, rng.randrange(-(2**63), 2**63), text)[kind]


def test_replies_come_whole_from_any_pieces() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(200):
        sent = [random_reply(rng) for _ in range(rng.randrange(1, 6))]
        data = b"".join(map(encoded, sent))
        replies, found = Replies(), []
        most = rng.choice([1, 10, 1000, 10_000])
        while data:
            size = rng.randrange(1, most + 1)
            found += replies.feed(data[:size])
            data = data[size:]
        assert found == sent, seed


def test_a_large_reply_is_not_copied_with_each_piece() -> None:
    """As it would be if each piece were tried: 10,000 times 10 MB, which takes minutes."""
    replies, body = Replies(), b"x" * 10_000_000
    data = encoded([b"head", body])
    found = [reply for at in range(0, len(data), 1000) for reply in replies.feed(data[at : at + 1000])]
    assert found == [[b"head", body]]


def test_errors_are_among_the_replies() -> None:
    good, bad, nothing = Replies().feed(b"+OK\r\n-NOSCRIPT No matching script.\r\n*-1\r\n")
    assert (good, nothing) == (b"OK", None)
    assert isinstance(bad, ResponseError)
    assert str(bad) == "NOSCRIPT No matching script."


def test_what_is_no_reply_is_refused() -> None:
    with pytest.raises(InvalidResponse, match="HTTP"):
        Replies().feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
