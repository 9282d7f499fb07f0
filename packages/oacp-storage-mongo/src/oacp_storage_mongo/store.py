"""One namespace of a database through a driver: its collections, reads of one moment, and transactions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.read_concern import ReadConcern

from oacp_storage_core import CorruptDataError, SchemaVersionError, StorageError
from oacp_storage_engine import NotApplied, Unknown
from oacp_storage_mongo import layout
from oacp_storage_mongo.driver import Driver
from oacp_storage_mongo.errors import (
    DRIVER_ERRORS,
    DUPLICATE_KEY,
    INVALID_DOCUMENT,
    WRITE_CONFLICT,
    code_of,
    label,
    reading,
)
from oacp_storage_mongo.finishing import Finishing, nobody_waits

T = TypeVar("T")
Stages = Sequence[Mapping[str, Any]]
"""An aggregation pipeline."""

DURABLE = WriteConcern("majority", j=True)
_SNAPSHOT = ReadConcern("snapshot")
_LENIENT = CodecOptions[dict[str, Any]](unicode_decode_error_handler="replace")
_FIRST_BATCH = 130
_LONGEST_PAUSE = 0.1
_COMMIT_PAUSE = 0.05


class Changed(Exception):
    """What was read before a transaction is not so any more: read again. Nothing was written."""


class Store:
    """The collections of one namespace.

    At most ``pool_size`` reads use connections at once. All of it is used from within ``finishing``.
    """

    def __init__(self, driver: Driver, namespace: str, *, pool_size: int, finishing: Finishing) -> None:
        self.driver = driver
        self.finishing = finishing
        self.namespace = namespace
        self._room = asyncio.Semaphore(pool_size)
        database = driver.database
        self.meta = database[layout.META]
        self.agents = database[layout.AGENTS]
        self.documents = database[layout.DOCUMENTS]
        self.erasures = database[layout.ERASURES]
        self.interactions = database[layout.INTERACTIONS]
        self.receipts = database[layout.RECEIPTS]
        self.tombstones = database[layout.TOMBSTONES]

    # --- reads --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def found(
        self, collection: Any, pipeline: Stages, *, expected: int = 0, lenient: bool = False
    ) -> AsyncIterator[Any]:
        """A cursor over what the pipeline finds, all of it as of one moment that a majority has.

        ``expected``: how many documents will be wanted at least. ``lenient``: a string that is no UTF-8 any more is
        replaced, for records whose checksums will show that; otherwise it is ``CorruptDataError``.
        Raises what a read may raise, and ``NotApplied`` where nobody waits for it any more.
        """
        at_once = collection.with_options(read_concern=_SNAPSHOT, codec_options=_LENIENT if lenient else None)
        async with self._room:
            if nobody_waits():
                raise NotApplied("nobody waits for this read any more")
            try:
                cursor = await self.driver.aggregate(
                    at_once, pipeline, batch_size=min(max(expected + 2, 16), _FIRST_BATCH)
                )
                try:
                    yield cursor
                finally:
                    with suppress(*DRIVER_ERRORS):
                        await cursor.close()
            except DRIVER_ERRORS as exc:
                raise reading(exc) from exc
            except InvalidBSON as exc:
                raise CorruptDataError("a document in the database is damaged: it is no valid BSON") from exc

    async def all_of(self, collection: Any, pipeline: Stages, *, expected: int = 0) -> list[dict[str, Any]]:
        """All that the pipeline finds, as ``found``."""
        async with self.found(collection, pipeline, expected=expected) as cursor:
            return [document async for document in cursor]

    async def one_of(self, collection: Any, pipeline: Stages) -> dict[str, Any] | None:
        """The first that the pipeline finds, if anything."""
        found = await self.all_of(collection, pipeline)
        return found[0] if found else None

    def union(self, collection: Any, pipeline: Stages) -> dict[str, Any]:
        """A stage that adds what the pipeline finds in another collection, as of the same moment."""
        return {"$unionWith": {"coll": collection.name, "pipeline": list(pipeline)}}

    def of_agent(self, agent: str) -> dict[str, Any]:
        """The condition for what belongs to an agent."""
        return {"agent_id": agent, "namespace": self.namespace}

    def agent(self, agent: str) -> list[dict[str, Any]]:
        """A pipeline over ``agents``: the document of one agent."""
        return [{"$match": {"_id": layout.agent_key(self.namespace, agent)}}]

    def last_of(self, agent: str) -> list[dict[str, Any]]:
        """A pipeline over ``interactions``: the last sequence of those that exist, as ``top``."""
        return [
            {"$match": self.of_agent(agent)},
            {"$sort": {"sequence": -1}},
            {"$limit": 1},
            {"$project": {"_id": 0, "top": "$sequence", "of": "$agent_id"}},
        ]

    async def check_version(self) -> None:
        """Raise ``SchemaVersionError`` unless the database has our schema version."""
        self.check_mark(await self.one_of(self.meta, [{"$match": {"_id": layout.MARK}}]) or {})

    def check_mark(self, mark: dict[str, Any]) -> None:
        """As ``check_version``, of a mark that was read already."""
        version = mark.get("version")
        if version != layout.SCHEMA_VERSION:
            raise SchemaVersionError(
                f"the database has got schema version {version} meanwhile, and this release writes "
                f"{layout.SCHEMA_VERSION}: restart with the release that upgraded it"
            )

    async def refused(self, exc: BaseException) -> StorageError:
        """The error for a write that the validator of a collection refused."""
        await self.check_version()
        error = NotApplied("the schema version of the database is being changed")
        error.__cause__ = exc
        return error

    # --- interactions -------------------------------------------------------------------------------------

    async def insert(self, documents: Sequence[RawBSONDocument], session: Any = None) -> None:
        """Insert interactions in their order, up to the first that is refused, in one statement.

        It is the driver's ``insert_many`` without what that does for each document. Raises what that raises.
        """
        command: dict[str, Any] = {"insert": layout.INTERACTIONS, "ordered": True, "documents": documents}
        if session is None:
            command["writeConcern"] = DURABLE.document
        reply = await self.driver.database.command(command, session=session)
        refused, unconfirmed = reply.get("writeErrors", []), reply.get("writeConcernError")
        if refused or unconfirmed:
            raise BulkWriteError(
                {
                    "nInserted": reply["n"],
                    "writeErrors": refused,
                    "writeConcernErrors": [unconfirmed] if unconfirmed else [],
                    "errorLabels": reply.get("errorLabels", []),
                }
            )

    # --- transactions -------------------------------------------------------------------------------------

    async def transact(self, work: Callable[[Any], Awaitable[T]], deadline: float) -> T:
        """Run ``work(session)`` in one transaction, and commit it; at most once, whatever the connection does.

        Raises ``Changed`` when another writer was faster, ``NotApplied`` when it was surely not committed,
        ``Unknown`` when that cannot be found out, and what ``work`` raises.
        """
        session = None
        try:
            try:
                session = await self.driver.begin(
                    read_concern=_SNAPSHOT, write_concern=DURABLE, read_preference=ReadPreference.PRIMARY
                )
                result = await work(session)
            except DRIVER_ERRORS as exc:
                if code_of(exc) == INVALID_DOCUMENT:
                    raise (await self.refused(exc)) from exc
                if code_of(exc) in {DUPLICATE_KEY, WRITE_CONFLICT}:
                    raise Changed from exc
                error = reading(exc)
                if _will_pass(exc) and not isinstance(error, NotApplied):
                    error = NotApplied("the server could not go on with a transaction just now")
                raise error from exc
            await self._commit(session, deadline)
        finally:
            if session is not None:
                await _end(session)
        return result

    async def _commit(self, session: Any, deadline: float) -> None:
        """Commit; again as long as it is not known whether it happened, which the server tells apart."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await session.commit_transaction()
            except DRIVER_ERRORS as exc:
                if label(exc, "TransientTransactionError"):
                    raise Changed from exc
                if not label(exc, "UnknownTransactionCommitResult"):
                    error = reading(exc)
                    raise (Unknown(str(error)) if isinstance(error, NotApplied) else error) from exc
                if loop.time() + _COMMIT_PAUSE >= deadline:
                    raise Unknown("the connection was lost while a transaction was committed") from exc
                await asyncio.sleep(_COMMIT_PAUSE)
            else:
                return

    async def again(self, attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
        """Await ``attempt()``, again whenever it raises ``Changed``, until the deadline."""
        loop = asyncio.get_running_loop()
        pause = 0.001
        while True:
            try:
                return await attempt()
            except Changed as exc:
                wait = random.uniform(0, pause)  # noqa: S311 - spreads writers, no secret
                if loop.time() + wait >= deadline:
                    raise NotApplied("other writers were faster all the time") from exc
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _will_pass(exc: BaseException) -> bool:
    """Whether the server says that the transaction may be tried again, whatever it stumbled over (a lock, say)."""
    return isinstance(exc, OperationFailure) and label(exc, "TransientTransactionError")


async def _end(session: Any) -> None:
    """End the session, and its transaction where it is not committed."""
    with suppress(*DRIVER_ERRORS):
        if session.in_transaction:
            await session.abort_transaction()
    with suppress(*DRIVER_ERRORS):
        await session.end_session()
