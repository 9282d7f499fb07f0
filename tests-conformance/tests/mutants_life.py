"""Mutants of a storage's life: cancellation, closing, loops, errors, limits, damage."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from mutants import mutant
from oacp_storage_conformance import ClauseName
from oacp_storage_core import (
    CorruptDataError,
    Damage,
    DuplicateIdError,
    Health,
    InvalidKeyError,
    MemoryStorage,
    StorageClosedError,
    StorageUsageError,
)


@mutant(ClauseName.CANCELLATION)
class CancelledHalfway(MemoryStorage):
    """Stores the state of a turn some time after its interactions, so that a cancellation falls between."""

    async def record_turn(
        self, agent_id, *, interactions=(), state=None, expected_version=None, learning=None
    ):
        if state is None or expected_version is not None or not interactions:
            return await super().record_turn(
                agent_id,
                interactions=interactions,
                state=state,
                expected_version=expected_version,
                learning=learning,
            )
        await super().record_turn(agent_id, interactions=interactions, learning=learning)
        for _ in range(5):
            await asyncio.sleep(0)
        return await super().record_turn(agent_id, state=state)


@mutant(ClauseName.CANCELLATION)
class CancelledBreaks(MemoryStorage):
    """Is unusable after a call was cancelled."""

    async def store_interaction(self, agent_id, interaction, **options):
        if self.__dict__.get("broken"):
            raise StorageUsageError("a transaction is still open")
        self.broken = True
        stored = await super().store_interaction(agent_id, interaction, **options)
        self.broken = False
        return stored


@mutant(ClauseName.CONCURRENCY, ClauseName.ORDER, ClauseName.IDEMPOTENCY)
class RacesOnIds(MemoryStorage):
    """Looks whether an id is there, and appends some time later."""

    async def store_interaction(self, agent_id, interaction, *, interaction_id=None, timestamp=None):
        if interaction_id is None:
            return await super().store_interaction(agent_id, interaction, timestamp=timestamp)
        found = await super().get_interaction(agent_id, interaction_id)
        await asyncio.sleep(0)
        if found is None:
            await super().store_interaction(agent_id, interaction, timestamp=timestamp)
            return interaction_id
        return await super().store_interaction(agent_id, interaction, interaction_id=interaction_id)


@mutant(ClauseName.LOOPS)
class CloseLoses(MemoryStorage):
    """Drops what is in flight when it is closed."""

    async def store_interaction(self, agent_id, interaction, **options):
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().store_interaction(agent_id, interaction, **options)


@mutant(ClauseName.LOOPS)
class UsableAfterClose(MemoryStorage):
    """Goes on working after it was closed."""

    async def close(self):
        self._data.ring(None)


@mutant(ClauseName.LOOPS)
class CloseTwiceFails(MemoryStorage):
    """Raises when it is closed again."""

    async def close(self):
        if self._closed:
            raise StorageClosedError("closed already")
        await super().close()


@mutant(ClauseName.LOOPS)
class BoundToFirstLoop(MemoryStorage):
    """Refuses to be used from a new loop after the old one ended."""

    def _take_loop(self):
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise StorageUsageError("attached to a different loop")
        super()._take_loop()


@mutant(ClauseName.LOOPS)
class ForeignLoopUnnoticed(MemoryStorage):
    """Lets two running loops use it at once."""

    def _take_loop(self):
        self._loop = asyncio.get_running_loop()


@mutant(ClauseName.ERRORS, ClauseName.VERSIONS, ClauseName.NAMES, ClauseName.IDEMPOTENCY)
class DriversErrors(MemoryStorage):
    """Lets an exception of its driver out instead of the contract's."""

    async def store_interaction(self, agent_id, interaction, **options):
        try:
            return await super().store_interaction(agent_id, interaction, **options)
        except (DuplicateIdError, InvalidKeyError) as exc:
            raise RuntimeError("UNIQUE constraint failed") from exc


@mutant(ClauseName.SIZES)
class NoLimits(MemoryStorage):
    """Takes batches of any number."""

    async def store_interactions(self, agent_id, interactions):
        ids = []
        for start in range(0, len(interactions), 10_000):
            ids += await super().store_interactions(agent_id, interactions[start : start + 10_000])
        return ids


@mutant(ClauseName.HEALTH, ClauseName.DURABILITY)
class HealthBoasts(MemoryStorage):
    """Claims a durability that does not exist."""

    async def health(self):
        return Health(ok=True, backend="HealthBoasts", durability=cast("Any", "always"))


@mutant(ClauseName.IMPORT)
class ImportRenumbers(MemoryStorage):
    """Gives imported interactions new sequences."""

    async def import_records(self, agent_id, *, interactions=(), state=None, learning=()):
        await self.store_interactions(agent_id, interactions)
        await super().import_records(agent_id, state=state, learning=learning)


@mutant(ClauseName.DAMAGE)
class DamageSkipped(MemoryStorage):
    """Passes over damaged interactions without a word."""

    def iter_interactions(self, agent_id, **query):
        return _SkippingDamage(super().iter_interactions(agent_id, **query))


@mutant(ClauseName.DAMAGE)
class DamageEndsIteration(MemoryStorage):
    """Ends an iteration at the first damaged interaction."""

    def iter_interactions(self, agent_id, **query):
        return _generated(super().iter_interactions(agent_id, **query))


@mutant(ClauseName.DAMAGE)
class VerifyAlwaysSound(MemoryStorage):
    """Reports no damage, whatever there is."""

    async def verify(self):
        with self._use():
            pass
        no_damage: tuple[Damage, ...] = ()
        for damage in no_damage:
            yield damage


class _SkippingDamage:
    def __init__(self, inner):
        self.inner = inner

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            try:
                return await anext(self.inner)
            except CorruptDataError:
                continue


async def _generated(inner):
    async for one in inner:
        yield one
