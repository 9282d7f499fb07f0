"""The drivers: Motor, and PyMongo's own asynchronous client. Everything in which they differ is in this module.

Both have the same methods on collections; the differences are which of them are awaited, and how a client is ended.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from pymongo import errors

from oacp_storage_core import StorageConfigError
from oacp_storage_core.urls import redact_url
from oacp_storage_mongo.dropping import drop_client, keep_untouched

DriverName = Literal["motor", "pymongo"]


class Driver(ABC):
    """One client in one event loop. ``Any`` stands for the objects of the driver, whose two families share no types."""

    def __init__(self, client: Any, database: str) -> None:
        self.client = client
        self.database: Any = client[database]
        self._pid = os.getpid()
        self._kept: object = None

    @abstractmethod
    async def aggregate(
        self, collection: Any, pipeline: Sequence[Mapping[str, Any]], *, batch_size: int
    ) -> Any:
        """A cursor, to be iterated and closed."""

    @abstractmethod
    def ask_for(self, cursor: Any, batch_size: int) -> None:
        """From now on ask for so many documents at once."""

    @abstractmethod
    async def begin(self, **options: Any) -> Any:
        """A session with a transaction in it."""

    @abstractmethod
    async def watch(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """A change stream: ``try_next`` and ``close`` are awaited."""

    @abstractmethod
    async def close(self) -> None:
        """End the client and its connections."""

    def connected(self) -> None:
        """The client has made its connections; they are remembered, because a forked child's client forgets them."""
        self._kept = getattr(self.client, "_topology", None)

    def abandon(self) -> None:
        """Drop the client without awaiting; in a forked child leave what belongs to the parent alone."""
        if self._pid != os.getpid():
            keep_untouched((self.client, self._kept))
        else:
            self._abandon()

    @abstractmethod
    def _abandon(self) -> None: ...


class PyMongoDriver(Driver):
    """PyMongo's asynchronous client."""

    async def aggregate(
        self, collection: Any, pipeline: Sequence[Mapping[str, Any]], *, batch_size: int
    ) -> Any:
        return await collection.aggregate(pipeline, batchSize=batch_size)

    def ask_for(self, cursor: Any, batch_size: int) -> None:
        _ask_for(cursor, batch_size)

    async def begin(self, **options: Any) -> Any:
        session = self.client.start_session(causal_consistency=False)
        await session.start_transaction(**options)
        return session

    async def watch(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        return await collection.watch(pipeline, **options)

    async def close(self) -> None:
        _forget_sessions(self.client)
        await self.client.close()

    def _abandon(self) -> None:
        drop_client(self.client)


class MotorDriver(Driver):
    """Motor, which runs PyMongo's synchronous client in threads."""

    async def aggregate(
        self, collection: Any, pipeline: Sequence[Mapping[str, Any]], *, batch_size: int
    ) -> Any:
        return collection.aggregate(pipeline, batchSize=batch_size)

    def ask_for(self, cursor: Any, batch_size: int) -> None:
        _ask_for(getattr(cursor, "delegate", None), batch_size)  # its own method fails once it has begun

    async def begin(self, **options: Any) -> Any:
        session = await self.client.start_session(causal_consistency=False)
        session.start_transaction(**options)
        return session

    async def watch(self, collection: Any, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        return collection.watch(pipeline, **options)

    async def close(self) -> None:
        # It says goodbye to the server and waits for an answer, which must not stop the loop.
        import asyncio

        _forget_sessions(getattr(self.client, "delegate", None))
        await asyncio.to_thread(self.client.close)

    def _abandon(self) -> None:
        # As above, and nobody waits for it: a daemon thread keeps no interpreter from exiting.
        threading.Thread(target=self.client.close, name="oacp-storage drops a client", daemon=True).start()


def _ask_for(cursor: Any, batch_size: int) -> None:
    with suppress(AttributeError):  # a release that has it no more asks for as many as before
        cursor.batch_size(batch_size)


def _forget_sessions(client: Any) -> None:
    """Where no server is known: closing would look for one as long as it may, only to say goodbye to it."""
    with suppress(AttributeError):  # a release that is made differently closes more slowly then
        if not client.nodes:
            client._topology.pop_all_sessions()  # noqa: SLF001 - as its close() does


def make_driver(name: DriverName, url: str, database: str, settings: dict[str, Any]) -> Driver:
    """A client of that driver in the running loop; it connects at its first use.

    Raises ``StorageConfigError`` for a URL or settings that the driver refuses, without its words, which may repeat a
    piece of the password.
    """
    try:
        return _made(name, url, database, settings)
    except (errors.InvalidURI, errors.ConfigurationError, ValueError, TypeError) as exc:
        raise StorageConfigError(
            f"{redact_url(url)} is refused by MongoDB's driver ({type(exc).__name__}): check the names and values in "
            "its query, and that a password in it is percent-encoded"
        ) from None


def _made(name: DriverName, url: str, database: str, settings: dict[str, Any]) -> Driver:
    if name == "pymongo":
        from pymongo import AsyncMongoClient

        return PyMongoDriver(AsyncMongoClient(url, connect=False, **settings), database)
    try:
        from motor.motor_asyncio import AsyncIOMotorClient
    except ImportError as exc:
        raise StorageConfigError(
            'Motor cannot be imported: "pip install motor", or use driver="pymongo", which needs no further package'
        ) from exc
    return MotorDriver(AsyncIOMotorClient(url, connect=False, **settings), database)
