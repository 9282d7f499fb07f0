"""What these tests share: databases of their own, statements besides the storage, and a TCP proxy."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from oacp_storage_core import StorageError

T = TypeVar("T")


def in_another_loop(call: Coroutine[Any, Any, T]) -> T:
    """Await the call in a thread with a loop of its own, while this one stands still."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, call).result()


async def query(url: str, statement: str, *arguments: Any) -> list[Any]:
    """The rows of one statement, on a connection of its own. Several statements are possible without arguments."""
    connection = await asyncpg.connect(url)
    try:
        if arguments or not statement.rstrip().rstrip(";").count(";"):
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows
        await connection.execute(statement)
        return []
    finally:
        await connection.close()


def at(url: str, **parts: Any) -> str:
    """The URL with another database, user, password, host or port."""
    split = urlsplit(url)
    user = parts.get("user", split.username)
    password = parts.get("password", split.password)
    login = f"{user}:{password}" if password else user
    place = f"{parts.get('host', split.hostname)}:{parts.get('port', split.port)}"
    path = f"/{parts['database']}" if "database" in parts else split.path
    return urlunsplit(split._replace(netloc=f"{login}@{place}", path=path))


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """A new database on the server, dropped afterwards with all who are still connected to it."""
    name = f"oacp_test_{secrets.token_hex(6)}"
    in_another_loop(query(url, f"CREATE DATABASE {name}"))
    try:
        yield at(url, database=name)
    finally:
        in_another_loop(query(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


class Proxy:
    """Passes bytes between clients and one server, until it is told to do something else.

    ``on_request`` sees each piece that a client sends, and ``on_reply`` each that the server sends; one that returns
    False has the connection cut instead of passing it on. ``frozen`` lets nothing through, without cutting anything.
    With ``tls`` it speaks TLS in place of the server, and to such clients only.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.on_request: Callable[[bytes], bool] = lambda _data: True
        self.on_reply: Callable[[bytes], bool] = lambda _data: True
        self.frozen = False
        self._target = url
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return at(self._target, host="127.0.0.1", port=self.port)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
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
        split = urlsplit(self._target)
        if self._tls is not None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readexactly(8)  # the client asks for it first
                writer.write(b"S")
                await writer.start_tls(self._tls)
        try:
            server_reader, server_writer = await asyncio.open_connection(split.hostname, split.port)
        except OSError:
            writer.close()
            self._tasks.discard(task)
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, server_writer, "on_request")),
            asyncio.ensure_future(self._pump(server_reader, writer, "on_reply")),
        ]
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the proxy ends, and the task with it
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
    """Appends from many callers meanwhile; yields what each append ended in."""
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
