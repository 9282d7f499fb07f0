"""What these tests share: databases of their own, statements besides the storage, and a proxy in front of one."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from oacp_storage_conformance.servers import Proxy

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


class PostgresProxy(Proxy):
    """In front of the server of a database; to clients that ask for TLS it speaks it with ``tls``."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(urlsplit(url).port or 5432, tls, upgrade=(8, b"S"))
        self._database = url

    @property
    def url(self) -> str:
        return at(self._database, host="127.0.0.1", port=self.port)
