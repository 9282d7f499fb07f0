"""Schema: each store carries the version of its form, and only processes of that version write to it."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from oacp_storage_conformance.calls import ALL_CALLS
from oacp_storage_conformance.clause import ClauseName, Trait, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place
from oacp_storage_conformance.setting import tampered
from oacp_storage_conformance.workers import worker
from oacp_storage_core import Capability, SchemaVersionError

SCHEMA = ClauseName.SCHEMA


class SchemaClause:
    """Stores of other releases. These tests change the mark of the whole store, so they need it for themselves."""

    @clause(SCHEMA, Trait.SCHEMA)
    async def test_the_schema_version_is_told(self, place: Place) -> None:
        """Each store carries its schema version, which health() tells, the same through every instance.

        Look at: where the version is kept, and Health.schema_version.
        """
        version = await _version(place)
        assert version >= 1
        assert (await (await place.second()).health()).schema_version == version

    @clause(SCHEMA, Trait.SCHEMA, tamper=True)
    async def test_a_newer_schema_is_refused(self, place: Place) -> None:
        """A store of a newer schema version is refused with SchemaVersionError, and nothing in it is changed.

        Look at: what open() compares, before it creates or upgrades anything.
        """
        agent, version = place.name("ann"), await _version(place)
        await place.fill(agent, 3)
        await place.close_all()
        tampered(place.setting, "set_schema_version", version + 1)
        try:
            for _ in range(2):
                storage = place.build()
                with pytest.raises(SchemaVersionError, match=r"\S"):
                    await soon(storage.open(), "the refusal")
                with pytest.raises(SchemaVersionError, match=r"\S"):
                    await soon(storage.store_interaction(agent, {"n": "wrong"}), "the refusal")
                await soon(storage.close(), "close() of a storage that was refused")
        finally:
            tampered(place.setting, "set_schema_version", version)
        await place.reopen()
        assert await place.payloads(agent) == [{"n": 1}, {"n": 2}, {"n": 3}]

    @clause(SCHEMA, Trait.SCHEMA, tamper=True)
    async def test_the_version_is_checked_with_every_write(self, place: Place) -> None:
        """A process that has the store open when another upgrades it gets SchemaVersionError for its next write.

        Look at: whether the version is read in the same atomic step as the write, not once at open().
        """
        agent, key, version = place.name("ann"), place.name("key"), await _version(place)
        await place.fill(agent, 3)
        await place.storage.store_agent_state(agent, {"n": 1})
        tampered(place.setting, "set_schema_version", version + 1)
        try:
            for name, call in ALL_CALLS.items():
                if call.writes and (call.subject is None or place.has(call.subject)):
                    with pytest.raises(SchemaVersionError, match=r"\S"):
                        await soon(call(place.storage, agent, key), f"the refusal of {name}")
        finally:
            tampered(place.setting, "set_schema_version", version)
        await place.reopen()
        assert await place.payloads(agent) == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert await place.storage.get_agent_state(agent) == {"n": 1}
        await soon(place.storage.store_interaction(agent, {"n": 4}), "an append to the store as it was")

    @clause(SCHEMA, Trait.SCHEMA, tamper=True)
    async def test_an_older_schema_is_upgraded(self, place: Place) -> None:
        """A store of an older schema version is upgraded in place on open, with all its data.

        Look at: the upgrade, and whether it sets the version in the same step.
        """
        agent, version = place.name("ann"), await _version(place)
        if version == 1:
            place.setting.does_not_apply("there is no older schema than version 1")
        await place.fill(agent, 5)
        await place.storage.store_agent_state(agent, {"n": 1})
        await place.close_all()
        assert tampered(place.setting, "downgrade_schema") < version
        await place.reopen()
        assert (await place.storage.health()).schema_version == version
        assert await place.payloads(agent) == [{"n": n} for n in range(1, 6)]
        assert await place.storage.get_agent_state(agent) == {"n": 1}
        await place.fill(agent, 1, start=6)
        if place.has(Capability.HISTORY):
            assert [one.sequence for one in await place.log(agent)] == [1, 2, 3, 4, 5, 6]
        if place.has(Capability.VERIFY):
            assert [damage async for damage in place.storage.verify()] == []

    @clause(SCHEMA, Trait.SCHEMA, Trait.MULTIPROCESS, tamper=True)
    async def test_many_processes_upgrade_at_once(self, place: Place) -> None:
        """Many processes may open a store of an older schema version at once: it is upgraded once, and all go on.

        Look at: what keeps two upgrades apart, and what the second one finds.
        """
        agent, setting, version, count = place.name("ann"), place.setting, await _version(place), 5
        if version == 1:
            setting.does_not_apply("there is no older schema than version 1")
        await place.fill(agent, 5)
        await place.close_all()
        tampered(setting, "downgrade_schema")
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    worker(
                        setting.plain_source, setting.options, "append_one", agent=agent, payload={"by": by}
                    )
                )
                for by in range(count)
            ]
            for one in workers:
                assert len(await one.finish()) == 1
        await place.reopen()
        stored = await place.payloads(agent)
        assert stored[:5] == [{"n": n} for n in range(1, 6)]
        assert sorted(one["by"] for one in stored[5:]) == list(range(count))


async def _version(place: Place) -> int:
    """The schema version of the store; the test does not apply where there is none."""
    version = (await place.storage.health()).schema_version
    if version is None:
        place.setting.does_not_apply("the store carries no schema version")
    place.setting.declare(Trait.SCHEMA)
    return version
