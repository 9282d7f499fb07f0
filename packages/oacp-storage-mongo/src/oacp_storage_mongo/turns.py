"""Turns: processes that write to the same agents at the same time stand in line, instead of refusing each other.

A place in a log is taken by its ``_id``, which needs nobody's leave. Where two processes append to one agent all the
time, whoever is refused reads the log again, and meanwhile the other has written on: one wins for long, and all lose
time. So who was refused twice within a moment stands in line for turns. So does who writes much, for it looks now and
then whether there is a line. A turn is a courtesy: nothing that is stored relies on it, and who does not know of it, or
dies in its turn, costs the others a moment.

The line is a document among the receipts, which are removed when they are old. Who is first has the turn.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pymongo import ReturnDocument, WriteConcern
from pymongo.read_concern import ReadConcern

from oacp_storage_mongo.errors import DRIVER_ERRORS
from oacp_storage_mongo.layout import SCHEMA_VERSION
from oacp_storage_mongo.store import Store

_TURN = 0.05  # seconds; a commit that is under way then is finished
_IDLE = 0.002  # seconds without a commit, after which a turn is over
_LOOK = 0.003  # seconds between two looks of who is next
_LOST = 0.25  # seconds after which one who is first all the time is passed over
_MOMENT = 0.25  # seconds between two refusals that make a process stand in line
_LATELY = 1.0  # seconds for which it does so from then on
_BUSY = 10  # commits in
_BUSY_SECONDS = 0.1  # after which a process looks whether others stand in a line that it does not know of


class Turns:
    """The turns of one engine, which has one commit at a time. Used from within ``finishing``."""

    def __init__(self, store: Store) -> None:
        self._finishing = store.finishing
        self._line = store.receipts.with_options(
            write_concern=WriteConcern(1), read_concern=ReadConcern("local")
        )
        self._id = f"line/{store.namespace}"
        self._name = secrets.token_hex(8)
        self._refused_at = -_MOMENT
        self._others_until = 0.0
        self._has_turn = False
        self._turn_until = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._commits = 0
        self._looked_at = 0.0
        self._moving = asyncio.Lock()  # within the line, one step after the other

    def refused(self) -> None:
        """Another process was faster."""
        now = asyncio.get_running_loop().time()
        if now - self._refused_at < _MOMENT:
            self._others_until = now + _LATELY
        self._refused_at = now

    async def take(self, deadline: float) -> bool:
        """Wait for a turn where others write too. Returns whether they may have written in the meantime."""
        self._cancel_idle()
        loop = asyncio.get_running_loop()
        if self._has_turn or loop.time() >= self._others_until:
            return False
        try:
            async with self._moving:
                await self._stand(deadline)
                self._has_turn = True
        except DRIVER_ERRORS:
            return False  # the write will find out what is wrong
        self._turn_until = loop.time() + _TURN
        return True

    def give(self) -> None:
        """After a commit: the turn is given back when its time is over, or nothing more comes."""
        loop = asyncio.get_running_loop()
        if not self._has_turn:
            self._commits += 1
            if self._commits >= _BUSY and loop.time() >= self._looked_at + _BUSY_SECONDS:
                self._commits, self._looked_at = 0, loop.time()
                self._finishing.leave(self._look_aside)
        elif loop.time() >= self._turn_until:
            self.end()
        else:
            self._idle = loop.call_later(_IDLE, self.end)

    def forget(self) -> None:
        """There is no way back to the line: those behind will pass us over."""
        self._cancel_idle()
        self._has_turn = False

    def end(self) -> None:
        """Give the turn back, if there is one. Nobody waits until the others know it."""
        self._cancel_idle()
        if self._has_turn:
            self._has_turn = False
            self._finishing.leave(self._leave)

    async def _leave(self) -> None:
        with suppress(*DRIVER_ERRORS):  # then the others will pass us over
            async with self._moving:
                if not self._has_turn:  # else we have gone to the end of the line, and come to its head again
                    await self._remove(self._name)

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def _stand(self, deadline: float) -> None:
        """Go to the end of the line, and wait until we are first, or until the deadline."""
        loop = asyncio.get_running_loop()
        line = await self._join()
        first, since = "", loop.time()
        while line[:1] != [self._name] and loop.time() < deadline:
            if self._name not in line:  # somebody took us for dead
                line = await self._join()
            elif line[0] != first:
                first, since = line[0], loop.time()
            elif loop.time() - since > _LOST:
                line = await self._remove(first)
            else:
                await asyncio.sleep(_LOOK + (line.index(self._name) - 1) * _TURN)
                line = await self._look()

    async def _look_aside(self) -> None:
        with suppress(*DRIVER_ERRORS):
            await self._look()

    async def _look(self) -> list[str]:
        return self._seen(await self._line.find_one({"_id": self._id}))

    async def _join(self) -> list[str]:
        others = {"$ifNull": [_without(self._name), []]}
        return await self._change({"$concatArrays": [others, [self._name]]}, upsert=True)

    async def _remove(self, name: str) -> list[str]:
        return await self._change(_without(name))

    async def _change(self, line: Mapping[str, Any], *, upsert: bool = False) -> list[str]:
        stage = {"$set": {"schema": SCHEMA_VERSION, "at": "$$NOW", "line": line}}
        changed = await self._line.find_one_and_update(
            {"_id": self._id}, [stage], upsert=upsert, return_document=ReturnDocument.AFTER
        )
        return self._seen(changed)

    def _seen(self, document: Mapping[str, Any] | None) -> list[str]:
        """The line in the document. As long as others stand in it, so do we."""
        line: list[str] = (document or {}).get("line", [])
        if any(name != self._name for name in line):
            self._others_until = asyncio.get_running_loop().time() + _LATELY
        return line


def _without(name: str) -> dict[str, Any]:
    """The line without one who stands in it; null where there is no line."""
    return {"$filter": {"input": "$line", "cond": {"$ne": ["$$this", name]}}}
