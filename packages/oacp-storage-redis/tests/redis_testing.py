"""What these tests share: a TCP proxy that does what networks do, and small helpers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from oacp_storage_core import StorageError
from oacp_storage_redis import RedisStorage


class Proxy:
    """Passes bytes between clients and one server, until it is told to do something else.

    ``on_request`` sees each piece that a client sends, and ``on_reply`` each that the server sends; one that returns
    False has the connection cut instead of passing it on. ``frozen`` lets nothing through, without cutting anything.
    ``accepted`` counts the connections that were made.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.on_request: Callable[[bytes], bool] = lambda _data: True
        self.on_reply: Callable[[bytes], bool] = lambda _data: True
        self.frozen = False
        self.accepted = 0
        self._target = port
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            self._tasks.discard(task)
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, server_writer, "on_request")),
            asyncio.ensure_future(self._pump(server_reader, writer, "on_reply")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in (writer, server_writer):
                one.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rule: str) -> None:
        """``rule`` names the attribute that is asked about each piece, which may change meanwhile."""
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                if self.frozen:
                    await asyncio.Event().wait()
                if not getattr(self, rule)(data):
                    return
                writer.write(data)
                await writer.drain()


def once(is_it: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """A rule for a proxy: cut the connection at the first piece that fits."""
    fired = False

    def rule(data: bytes) -> bool:
        nonlocal fired
        if not fired and is_it(data):
            fired = True
            return False
        return True

    return rule


async def refused(storage: RedisStorage, kind: type[StorageError], words: str) -> None:
    """Opening must fail with this kind of error and these words, and show no secret; health() must not be ok."""
    try:
        with pytest.raises(kind, match=words) as caught:
            await storage.open()
        assert "sesame" not in str(caught.value)
        assert "sesame" not in repr(caught.value.__cause__)
        health = await storage.health()
        assert not health.ok
        assert "sesame" not in repr(health)
    finally:
        await storage.close()


async def until_stored(storage: Any, agent: str, n: int) -> None:
    """Append under an id of its own until that is acknowledged."""
    while True:
        with contextlib.suppress(StorageError):
            await storage.store_interaction(agent, {"n": n}, interaction_id=f"id {n}")
            return


async def whole_log(storage: Any, agent: str) -> list[Any]:
    return [one async for one in storage.iter_interactions(agent)]


async def more(fate: dict[tuple[int, int], Any], count: int) -> None:
    """Wait until the load has made so many more appends."""
    end = len(fate) + count
    while len(fate) < end:
        await asyncio.sleep(0.01)


@asynccontextmanager
async def load(
    storage: Any, *, agents: int = 5, callers: int = 10
) -> AsyncIterator[dict[tuple[int, int], Any]]:
    """Appends under generated ids from many callers meanwhile; yields what each append ended in."""
    fate: dict[tuple[int, int], Any] = {}
    going = True

    async def write(caller: int) -> None:
        n = 0
        while going:
            n += 1
            fate[caller, n] = "under way"
            try:
                await storage.store_interaction(f"agent {caller % agents}", {"by": caller, "n": n})
                fate[caller, n] = None
            except StorageError as exc:
                fate[caller, n] = exc

    tasks = [asyncio.ensure_future(write(caller)) for caller in range(callers)]
    try:
        yield fate
    finally:
        going = False
        await asyncio.gather(*tasks)
