"""The suite on a store that holds other people's data, as the command runs it: it may touch nothing of it."""

from __future__ import annotations

import asyncio

import pytest

from oacp_storage_conformance import StorageConformance
from oacp_storage_core import MemoryStorage, create_storage
from oacp_storage_core.memory import _stores

NAME = "shared-by-others"


async def write():
    for namespace in ("default", "theirs"):
        async with create_storage(f"memory://{NAME}", namespace=namespace) as storage:
            await storage.store_interaction("ann", {"theirs": namespace})
            await storage.store_agent_state("ann", {"theirs": namespace})
            await storage.store_system_state("key", {"theirs": namespace})


async def check():
    for namespace in ("default", "theirs"):
        async with create_storage(f"memory://{NAME}", namespace=namespace) as storage:
            assert await storage.list_agents() == ["ann"]
            assert await storage.get_interactions("ann") == [{"theirs": namespace}]
            assert await storage.get_agent_state("ann") == {"theirs": namespace}
            assert [one.key for one in await storage.list_system_state()] == ["key"]


@pytest.fixture(autouse=True, scope="module")
def other_data():
    asyncio.run(write())
    yield
    asyncio.run(check())
    spaces = {space for space, data in _stores[NAME].items() if data.agents or data.system.stored}
    assert spaces == {"default", "theirs"}, "the suite left something behind"
    MemoryStorage.forget(NAME)


class TestShared(StorageConformance):
    shared_place = True

    @pytest.fixture
    def storage_source(self):
        return f"memory://{NAME}?namespace=theirs"


class NoNamespaces(MemoryStorage):
    """Without namespaces the suite has nothing but names of its own."""

    declares = MemoryStorage.declares - {"namespaces"}

    def __init__(self, *, coerce=False):
        super().__init__(NAME, namespace="theirs", coerce=coerce)


class TestSharedWithoutNamespaces(StorageConformance):
    shared_place = True

    @pytest.fixture
    def storage_source(self):
        return NoNamespaces
