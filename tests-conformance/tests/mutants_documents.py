"""Mutants of documents, turns, deleting, names, payloads and tenants."""

from __future__ import annotations

import asyncio
import json
import math
import unicodedata

from mutants import mutant
from oacp_storage_conformance import ClauseName
from oacp_storage_core import Deletion, InvalidPayloadError, MemoryStorage, VersionConflictError
from oacp_storage_core.arguments import check_expected_version, check_list
from oacp_storage_core.names import check_name


@mutant(ClauseName.VERSIONS)
class VersionNotChecked(MemoryStorage):
    """Ignores the expected version."""

    async def store_agent_state(self, agent_id, state, *, expected_version=None):
        check_expected_version(expected_version)
        return await super().store_agent_state(agent_id, state)


@mutant(ClauseName.VERSIONS)
class VersionZeroOverwrites(MemoryStorage):
    """Takes expected_version=0 for no expectation."""

    async def store_system_state(self, key, data, *, expected_version=None):
        return await super().store_system_state(key, data, expected_version=expected_version or None)


@mutant(ClauseName.VERSIONS)
class VersionsGoOn(MemoryStorage):
    """Goes on counting when a deleted document is stored again."""

    async def store_learning_data(self, agent_id, key, data, *, expected_version=None):
        seen = self.__dict__.setdefault("seen", {})
        version = await super().store_learning_data(agent_id, key, data, expected_version=expected_version)
        seen[agent_id, key] = max(version, seen.get((agent_id, key), 0) + 1)
        return seen[agent_id, key]


@mutant(ClauseName.VERSIONS)
class LostUpdate(MemoryStorage):
    """Updates without compare-and-set: the last writer wins."""

    async def update_agent_state(self, agent_id, change):
        changed = change(await self.get_agent_state(agent_id))
        if asyncio.iscoroutine(changed):
            changed = await changed
        await asyncio.sleep(0)
        if changed is not None:
            await self.store_agent_state(agent_id, changed)
        return await self.get_agent_state_document(agent_id)


@mutant(ClauseName.VERSIONS)
class UpdateGivesUp(MemoryStorage):
    """Does not try again after a conflict."""

    async def update_system_state(self, key, change):
        document = await self.get_system_state_document(key)
        changed = change(document.data if document else None)
        if asyncio.iscoroutine(changed):
            changed = await changed
        if changed is not None:
            version = document.version if document else 0
            await self.store_system_state(key, changed, expected_version=version)
        return await self.get_system_state_document(key)


@mutant(ClauseName.VERSIONS)
class ConflictWrites(MemoryStorage):
    """Raises the conflict, and has written all the same."""

    async def store_agent_state(self, agent_id, state, *, expected_version=None):
        try:
            return await super().store_agent_state(agent_id, state, expected_version=expected_version)
        except VersionConflictError:
            await super().store_agent_state(agent_id, state)
            raise


@mutant(ClauseName.VERSIONS)
class DeleteIgnoresVersion(MemoryStorage):
    """Deletes whatever version is expected."""

    async def delete_agent_state(self, agent_id, *, expected_version=None):
        check_expected_version(expected_version)
        return await super().delete_agent_state(agent_id)


@mutant(ClauseName.ORDER, ClauseName.VERSIONS)
class KeysFolded(MemoryStorage):
    """Lists keys in the order of a dictionary for people, capitals among small letters."""

    async def list_learning_data(self, agent_id, *, prefix="", after=None, limit=100):
        found = await super().list_learning_data(agent_id, prefix=prefix, after=after, limit=limit)
        return sorted(found, key=lambda document: document.key.lower())


@mutant(ClauseName.ORDER)
class AgentsAfterInclusive(MemoryStorage):
    """Begins a list of agents with the one that it should come after."""

    async def list_agents(self, *, prefix="", after=None, limit=100):
        check_list(prefix, after, limit)
        found = await super().list_agents(prefix=prefix, limit=10**6)
        return [name for name in found if after is None or name >= after][:limit]


@mutant(ClauseName.TURNS)
class TurnNotAtomic(MemoryStorage):
    """Stores the interactions of a turn before it looks at the version of the state."""

    async def record_turn(
        self, agent_id, *, interactions=(), state=None, expected_version=None, learning=None
    ):
        if state is not None and expected_version is not None:
            document = await self.get_agent_state_document(agent_id)
            if expected_version != (document.version if document else 0):
                await self.store_interactions(agent_id, interactions)
        return await super().record_turn(
            agent_id,
            interactions=interactions,
            state=state,
            expected_version=expected_version,
            learning=learning,
        )


@mutant(ClauseName.TURNS)
class ReplayWrites(MemoryStorage):
    """Writes the state of a turn again when the turn is repeated."""

    async def record_turn(
        self, agent_id, *, interactions=(), state=None, expected_version=None, learning=None
    ):
        turn = await super().record_turn(
            agent_id,
            interactions=interactions,
            state=state,
            expected_version=expected_version,
            learning=learning,
        )
        if turn.replayed and state is not None:
            await self.store_agent_state(agent_id, state)
        return turn


@mutant(ClauseName.TURNS)
class TurnForgetsLearning(MemoryStorage):
    """Leaves out what was learned in a turn that has interactions."""

    async def record_turn(self, agent_id, *, interactions=(), learning=None, **rest):
        return await super().record_turn(
            agent_id, interactions=interactions, learning=None if interactions else learning, **rest
        )


@mutant(ClauseName.DELETION)
class DeletedAgentListed(MemoryStorage):
    """Lists a deleted agent once more, as a stale cache does."""

    async def delete_agent(self, agent_id):
        deletion = await super().delete_agent(agent_id)
        self.__dict__.setdefault("gone", set()).add(agent_id)
        return deletion

    async def list_agents(self, *, prefix="", after=None, limit=100):
        found = await super().list_agents(prefix=prefix, after=after, limit=limit)
        gone = {name for name in self.__dict__.pop("gone", ()) if name.startswith(prefix)}
        return sorted({*found, *gone})[:limit]


@mutant(ClauseName.DELETION, ClauseName.ORDER)
class RecreatedFromOne(MemoryStorage):
    """Begins the log of a re-created agent at 1 again."""

    async def delete_agent(self, agent_id):
        deletion = await super().delete_agent(agent_id)
        with self._use() as data:
            data._heads_left.clear()  # noqa: SLF001 - a mutant has no other way in
        return deletion


@mutant(ClauseName.DELETION)
class LearningSurvivesDeletion(MemoryStorage):
    """Keeps the learning data of a deleted agent."""

    async def delete_agent(self, agent_id):
        learning = await self.list_learning_data(agent_id, limit=10**6)
        deletion = await super().delete_agent(agent_id)
        for document in learning:
            await self.store_learning_data(agent_id, document.key, document.data)
        return deletion


@mutant(ClauseName.DELETION)
class DeletionMiscounted(MemoryStorage):
    """Counts one interaction too few."""

    async def delete_agent(self, agent_id):
        found = await super().delete_agent(agent_id)
        return Deletion(agent_id, max(found.interactions - 1, 0), found.states, found.learning)


@mutant(ClauseName.DELETION)
class DryRunDeletes(MemoryStorage):
    """Deletes in a dry run."""

    async def delete_interactions(self, agent_id=None, *, dry_run=False, **criteria):
        return await super().delete_interactions(agent_id, **criteria)


@mutant(ClauseName.DELETION)
class KeepLastIgnored(MemoryStorage):
    """Ignores keep_last where there is another criterion."""

    async def delete_interactions(self, agent_id=None, *, keep_last=None, **criteria):
        others = {name: value for name, value in criteria.items() if name != "dry_run" and value is not None}
        return await super().delete_interactions(
            agent_id, keep_last=None if others else keep_last, **criteria
        )


@mutant(ClauseName.NAMES)
class CaseFolded(MemoryStorage):
    """Takes Bob for bob."""

    async def store_interaction(self, agent_id, interaction, **options):
        return await super().store_interaction(_lower(agent_id), interaction, **options)

    async def get_interactions(self, agent_id, limit=100):
        return await super().get_interactions(_lower(agent_id), limit)


@mutant(ClauseName.NAMES)
class NamesNormalised(MemoryStorage):
    """Takes two Unicode spellings of a name for one."""

    async def store_interaction(self, agent_id, interaction, **options):
        return await super().store_interaction(_nfc(agent_id), interaction, **options)

    async def get_interactions(self, agent_id, limit=100):
        return await super().get_interactions(_nfc(agent_id), limit)


@mutant(ClauseName.NAMES)
class NamesCut(MemoryStorage):
    """Cuts names after 255 characters."""

    async def store_agent_state(self, agent_id, state, **options):
        return await super().store_agent_state(_cut(agent_id), state, **options)

    async def get_agent_state(self, agent_id):
        return await super().get_agent_state(_cut(agent_id))

    async def get_agent_state_document(self, agent_id):
        return await super().get_agent_state_document(_cut(agent_id))


@mutant(ClauseName.PAYLOADS)
class NulStripped(MemoryStorage):
    """Strips NUL characters."""

    async def store_interaction(self, agent_id, interaction, **options):
        return await super().store_interaction(agent_id, _map(interaction, _without_nul), **options)


@mutant(ClauseName.PAYLOADS)
class IntToFloat(MemoryStorage):
    """Turns large integers into floats, as many decoders do."""

    async def store_interaction(self, agent_id, interaction, **options):
        return await super().store_interaction(agent_id, _map(interaction, _large_to_float), **options)


@mutant(ClauseName.PAYLOADS)
class FloatToInt(MemoryStorage):
    """Turns whole floats into integers, as jsonb and Lua do."""

    async def store_agent_state(self, agent_id, state, **options):
        return await super().store_agent_state(agent_id, _map(state, _whole_to_int), **options)


@mutant(ClauseName.PAYLOADS)
class KeyOrderLost(MemoryStorage):
    """Sorts the keys of objects, as jsonb does."""

    async def store_interaction(self, agent_id, interaction, **options):
        exact = isinstance(interaction, dict) and _plain(interaction)
        kept = json.loads(json.dumps(interaction, sort_keys=True)) if exact else interaction
        return await super().store_interaction(agent_id, kept, **options)


@mutant(ClauseName.PAYLOADS)
class NanToNull(MemoryStorage):
    """Turns NaN into null without being asked to."""

    async def store_interaction(self, agent_id, interaction, **options):
        return await super().store_interaction(agent_id, _map(interaction, _nan_to_null), **options)


@mutant(ClauseName.PAYLOADS)
class TuplesToLists(MemoryStorage):
    """Turns tuples into lists without being asked to."""

    async def store_interaction(self, agent_id, interaction, **options):
        return await super().store_interaction(agent_id, _map(interaction, lambda value: value), **options)


@mutant(ClauseName.PAYLOADS)
class RefusalsNameNoPlace(MemoryStorage):
    """Refuses a payload without saying where."""

    async def store_interaction(self, agent_id, interaction, **options):
        try:
            return await super().store_interaction(agent_id, interaction, **options)
        except InvalidPayloadError:
            raise InvalidPayloadError("bad payload") from None


@mutant(ClauseName.PAYLOADS)
class SharedMutable(MemoryStorage):
    """Returns the same object twice: changing it changes what the next reader gets."""

    async def get_agent_state(self, agent_id):
        cache = self.__dict__.setdefault("cache", {})
        state = await super().get_agent_state(agent_id)
        known = cache.get(agent_id)
        if state is not None and (known is None or known[0] != state):
            cache[agent_id] = (json.loads(json.dumps(state)) if _plain(state) else state, state)
        return cache[agent_id][1] if state is not None else None


@mutant(ClauseName.PAYLOADS)
class CallersObjectChanged(MemoryStorage):
    """Adds an id to the caller's object, as drivers do."""

    async def store_interaction(self, agent_id, interaction, **options):
        stored = await super().store_interaction(agent_id, interaction, **options)
        interaction["_id"] = stored
        return stored


@mutant(ClauseName.TENANTS)
class TenantsListed(MemoryStorage):
    """Lists the agents of all namespaces."""

    async def list_agents(self, *, prefix="", after=None, limit=100):
        from oacp_storage_core.memory import _stores

        mine = await super().list_agents(prefix=prefix, after=after, limit=limit)
        for namespaces in _stores.values():
            for data in namespaces.values():
                mine += [name for name in data.agents if name.startswith(prefix) and name not in mine]
        return sorted(mine)[:limit]


def _lower(name):
    return name.lower() if isinstance(name, str) else name


def _nfc(name):
    return unicodedata.normalize("NFC", name) if isinstance(name, str) else name


def _cut(name):
    return check_name(name)[:255]


def _plain(value):
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError, RecursionError):
        return False


def _map(value, change, depth=0):
    """The value with every scalar changed; tuples become lists on the way."""
    if depth > 90:
        return value
    if type(value) is dict:
        return {key: _map(one, change, depth + 1) for key, one in value.items()}
    if type(value) in (list, tuple) and (type(value) is list or change(()) == ()):
        return [_map(one, change, depth + 1) for one in value]
    return change(value)


def _without_nul(value):
    return value.replace("\0", "") if type(value) is str else value


def _large_to_float(value):
    return float(value) if type(value) is int and 2**53 < abs(value) < 10**300 else value


def _whole_to_int(value):
    whole = type(value) is float and abs(value) < 1e15 and value == int(value)
    return int(value) if whole else value


def _nan_to_null(value):
    return None if type(value) is float and math.isnan(value) else value
