"""A TCP proxy that does what networks do. It runs in a thread of its own, so that any test can use it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from typing import Self


class Proxy:
    """Passes bytes between clients and one server on loopback, until it is told to do something else.

    It serves within its ``with`` block, on ``port`` of 127.0.0.1. ``on_request`` sees each piece that a client sends,
    and ``on_reply`` each that the server sends, both in the proxy's thread; one that returns False has the connection
    cut instead of passing the piece on. ``frozen`` lets nothing through, without cutting anything. ``accepted`` counts
    the connections that were made.

    With ``tls`` it speaks TLS to its clients, in place of a server that may have none. Where a protocol asks for TLS
    before it begins, ``upgrade`` is the length of the question in bytes and the answer: ``(8, b"S")`` for PostgreSQL.
    """

    def __init__(
        self, server_port: int, tls: ssl.SSLContext | None = None, *, upgrade: tuple[int, bytes] | None = None
    ) -> None:
        self.port = 0
        self.accepted = 0
        self.on_request: Callable[[bytes], bool] = lambda _data: True
        self.on_reply: Callable[[bytes], bool] = lambda _data: True
        self.frozen = False
        self._server_port = server_port
        self._tls = tls
        self._upgrade = upgrade
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, _context: None)  # handshakes that fail
        self._started = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._run()], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """End every connection of this moment, before this returns."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    async def _run(self) -> None:
        tls = self._tls if self._upgrade is None else None
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._end.wait()
        server.close()
        await self._cut()

    async def _cut(self) -> None:
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.accepted += 1
        pumps: list[asyncio.Future[None]] = []
        writers = [writer]
        try:
            if self._upgrade is not None and self._tls is not None:
                length, answer = self._upgrade
                await reader.readexactly(length)
                writer.write(answer)
                await writer.start_tls(self._tls)
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            writers.append(server_writer)
            pumps.append(asyncio.ensure_future(self._pump(reader, server_writer, "on_request")))
            pumps.append(asyncio.ensure_future(self._pump(server_reader, writer, "on_reply")))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client or the server has gone, or the connection is to be cut
        finally:
            for pump in pumps:
                pump.cancel()
            for one in writers:
                one.transport.abort()
            self._serving.discard(task)
        await asyncio.gather(*pumps, return_exceptions=True)

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
