"""Tenants: what is in one namespace is invisible in another, in every call."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place, collect, sequences
from oacp_storage_conformance.sources import build, without_namespace
from oacp_storage_core import Capability, Deletion, Storage, StorageConfigError

TENANTS = ClauseName.TENANTS
NAMESPACES, HISTORY, AGENTS = Capability.NAMESPACES, Capability.HISTORY, Capability.AGENTS


INVALID = {
    "empty": "",
    "upper case": "Team",
    "space": "a b",
    "dot": "a.b",
    "slash": "a/b",
    "65 characters": "x" * 65,
    "accent": "\u00e9",
    "new line": "a\n",
}


class TenantsClause:
    """Namespaces."""

    @clause(TENANTS, NAMESPACES)
    async def test_agents_of_one_name_are_others_in_each_namespace(self, place: Place) -> None:
        """An agent's log and state in one namespace are invisible in another, where the same name is another agent.

        Look at: whether the namespace is part of every key and condition.
        """
        agent, there = place.name("ann"), await _other_tenant(place)
        await place.fill(agent, 3)
        await place.storage.store_agent_state(agent, {"of": "here"})
        assert await there.get_interactions(agent) == []
        assert await there.get_agent_state(agent) is None
        await there.store_interaction(agent, {"of": "there"})
        await there.store_agent_state(agent, {"of": "there"})
        assert await there.get_interactions(agent) == [{"of": "there"}]
        assert await place.payloads(agent) == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert await place.storage.get_agent_state(agent) == {"of": "here"}

    @clause(TENANTS, NAMESPACES, HISTORY, Capability.IDEMPOTENT_APPEND)
    async def test_each_namespace_counts_by_itself(self, place: Place) -> None:
        """Sequences, ids and versions belong to their namespace.

        Look at: counters and unique indexes that leave the namespace out.
        """
        agent, there = place.name("ann"), await _other_tenant(place)
        for n in range(3):
            await place.storage.store_interaction(agent, {"n": n}, interaction_id=f"id {n}")
        await there.store_interaction(agent, {"n": "other"}, interaction_id="id 1")
        assert sequences(await collect(there.iter_interactions(agent))) == [1]
        assert await there.get_interaction(agent, "id 0") is None
        assert await there.count_interactions(agent) == 1
        found = await place.storage.get_interaction(agent, "id 1")
        assert found is not None
        assert found.data == {"n": 1}
        if place.has(Capability.VERSIONED_STATE):
            assert await place.storage.store_agent_state(agent, {}) == 1
            assert await there.store_agent_state(agent, {}, expected_version=0) == 1

    @clause(TENANTS, NAMESPACES, Capability.LEARNING_DATA, Capability.SYSTEM_STATE)
    async def test_documents_stay_in_their_namespace(self, place: Place) -> None:
        """Learning data and system state of one namespace are invisible in another, in lists too.

        Look at: whether the namespace is part of every key and condition; system state has no agent to carry it.
        """
        agent, key, there = place.name("ann"), place.name("k"), await _other_tenant(place)
        await place.storage.store_learning_data(agent, "k", {"of": "here"})
        await place.storage.store_system_state(key, {"of": "here"})
        assert await there.get_learning_data(agent, "k") is None
        assert await there.get_system_state(key) is None
        assert await there.list_learning_data(agent) == []
        assert await there.list_system_state() == []
        assert await there.delete_learning_data(agent, "k") is False
        assert await there.delete_system_state(key) is False
        assert await there.store_system_state(key, {"of": "there"}, expected_version=0) == 1
        other = await place.second()
        assert await other.get_learning_data(agent, "k") == {"of": "here"}
        assert [document.data for document in await other.list_system_state()] == [{"of": "here"}]

    @clause(TENANTS, NAMESPACES, AGENTS)
    async def test_agents_are_listed_and_deleted_in_their_namespace(self, place: Place) -> None:
        """list_agents and delete_agent know the agents of their namespace only.

        Look at: the registry of agents, and what a deletion's conditions leave out.
        """
        agent, mine, there = place.name("ann"), place.name("mine"), await _other_tenant(place)
        await place.fill(agent, 3)
        await place.fill(mine, 1)
        assert await there.list_agents() == []
        await there.store_interaction(agent, {"of": "there"})
        assert await there.list_agents() == [agent]
        assert await place.storage.list_agents() == [agent, mine]
        assert await there.delete_agent(mine) == Deletion(mine, 0, 0, 0)
        assert await there.delete_agent(agent) == Deletion(agent, 1, 0, 0)
        assert await place.payloads(agent) == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert await (await place.second()).list_agents() == [agent, mine]

    @clause(TENANTS, NAMESPACES, Capability.RETENTION)
    async def test_retention_stays_in_its_namespace(self, place: Place) -> None:
        """Retention, that for all agents too, deletes in its namespace only.

        Look at: delete_interactions without agent_id, and partitions that are dropped whole.
        """
        agent, there = place.name("ann"), await _other_tenant(place)
        await place.fill(agent, 3)
        for n in range(4):
            await there.store_interaction(agent, {"n": n})
        later = datetime.now(UTC) + timedelta(days=1)
        assert await there.delete_interactions(keep_last=2) == 2
        assert await there.delete_interactions(before=later, dry_run=True) == 2
        assert await there.delete_interactions(before=later) == 2
        assert await there.delete_interactions(agent, keep_last=0) == 0
        assert await place.payloads(agent) == [{"n": 1}, {"n": 2}, {"n": 3}]

    @clause(TENANTS, NAMESPACES, Capability.WATCH)
    async def test_watchers_see_their_namespace(self, place: Place) -> None:
        """A watcher gets what is appended in its namespace, and nothing of another.

        Look at: signals and reads that leave the namespace out.
        """
        agent, there = place.name("ann"), await _other_tenant(place)
        records = place.storage.watch_interactions(agent, after=0)
        coming = asyncio.ensure_future(soon(anext(records), "the interaction"))
        await asyncio.sleep(0)
        for n in range(5):
            await there.store_interaction(agent, {"of": "there", "n": n})
        await place.storage.store_interaction(agent, {"of": "here"})
        one = await coming
        assert (one.sequence, one.data) == (1, {"of": "here"})

    @clause(TENANTS, NAMESPACES, Capability.VERIFY)
    async def test_verifying_reads_its_namespace(self, place: Place) -> None:
        """verify of one namespace finds nothing wrong because of what another holds.

        Look at: counts and sums over the whole store.
        """
        agent, there = place.name("ann"), await _other_tenant(place)
        await place.fill(agent, 5)
        await there.store_interaction(agent, {"of": "there"})
        for storage in (place.storage, there):
            assert [damage async for damage in storage.verify()] == []

    @clause(TENANTS, NAMESPACES)
    async def test_the_default_namespace_is_named_default(self, place: Place) -> None:
        """Without the option, the namespace is "default".

        Look at: the default of the option namespace.
        """
        source = place.setting.source
        if isinstance(source, str) and "://" not in source:
            place.setting.does_not_apply("the configuration decides about the namespace")
        agent = f"conformance-{uuid4().hex}"  # this namespace may hold other people's data
        named, plain = await place.open(namespace="default"), build(without_namespace(source))
        async with plain:
            try:
                await plain.store_interaction(agent, {"of": "default"})
                assert await named.get_interactions(agent) == [{"of": "default"}]
                assert await place.storage.get_interactions(agent) == []
            finally:
                if place.has(AGENTS):
                    await plain.delete_agent(agent)

    @clause(
        TENANTS,
        NAMESPACES,
        cases=INVALID,
    )  # fmt: skip
    async def test_invalid_namespaces_are_refused(self, place: Place, case: str) -> None:
        """A namespace is 1 to 64 of the characters a-z, 0-9, _ and -; anything else raises StorageConfigError.

        Look at: the check of the option; `$` in a pattern also matches before a final new line.
        """
        with pytest.raises(StorageConfigError, match=r"\S"):
            await place.open(namespace=case)

    @clause(TENANTS, NAMESPACES)
    async def test_names_of_namespaces_do_not_run_together(self, place: Place) -> None:
        """Namespaces that begin alike, and agents whose names look like namespaces, are kept apart.

        Look at: how namespace and names are joined to keys: ("a", "b-c") is not ("a-b", "c").
        """
        first = place.setting.another_namespace()
        second = first + "-x"
        place.setting.namespaces.append(second)
        one, two = await place.open(namespace=first), await place.open(namespace=second)
        await one.store_interaction("x-ann", {"of": "first"})
        await two.store_interaction("ann", {"of": "second"})
        assert await one.get_interactions("ann") == []
        assert await one.get_interactions("x-ann") == [{"of": "first"}]
        assert await two.get_interactions("ann") == [{"of": "second"}]
        if place.has(AGENTS):
            assert await one.list_agents() == ["x-ann"]
            assert await two.list_agents() == ["ann"]

    @clause(TENANTS, NAMESPACES)
    async def test_the_longest_namespace_works(self, place: Place) -> None:
        """A namespace of 64 characters, with every kind of character, works like any other.

        Look at: limits of names in the store.
        """
        name = (place.setting.another_namespace() + "_0-" + "z" * 64)[:64]
        place.setting.namespaces[-1] = name
        storage = await place.open(namespace=name)
        await storage.store_interaction("x" * 512, {"n": 1})
        assert await storage.get_interactions("x" * 512) == [{"n": 1}]


async def _other_tenant(place: Place) -> Storage:
    return await place.open(namespace=place.setting.another_namespace())
