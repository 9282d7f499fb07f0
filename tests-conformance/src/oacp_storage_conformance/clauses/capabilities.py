"""Capabilities: what is declared works, what is not declared refuses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from oacp_storage_conformance.calls import FURTHER_METHODS, Call
from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place
from oacp_storage_core import (
    INTERFACE_VERSIONS,
    Capability,
    Storage,
    StorageBackend,
    StorageError,
    StorageWrapper,
    UnsupportedOperationError,
)

INTERFACE, CAPABILITIES = ClauseName.INTERFACE, ClauseName.CAPABILITIES


@dataclass(frozen=True)
class _Belongs:
    """A call that is counted under its capability, and made whether that is declared or not."""

    call: Call
    subject: Capability


class CapabilitiesClause:
    """Declarations hold in both directions."""

    @clause(INTERFACE)
    async def test_it_is_a_storage_of_a_known_interface_version(self, place: Place) -> None:
        """What applications hold is a Storage, and its interface version is one that core accepts.

        Look at: the base class, and `class Mine(StorageBackend, interface=...)`.
        """
        assert isinstance(place.storage, Storage)
        assert isinstance(place.storage, StorageBackend)
        assert place.storage.interface_version in INTERFACE_VERSIONS
        assert isinstance(place.storage.durable, bool)
        assert isinstance(place.storage.multiprocess, bool)

    @clause(INTERFACE)
    async def test_two_instances_share_their_place(self, place: Place) -> None:
        """Two storages built from one source are at one place: what one stores, the other reads.

        Look at: the source first. It must name a place that lasts, not a new one for each instance (memory://NAME,
        not memory://), because the suite looks at what is stored by a second instance.
        """
        await place.storage.store_interaction(place.name("ann"), {"n": 1})
        assert await place.payloads(place.name("ann")) == [{"n": 1}]

    @clause(CAPABILITIES)
    async def test_capabilities_are_final_and_read_only(self, place: Place) -> None:
        """capabilities is a read-only frozenset of Capability, at most what the class declares, the same once open.

        Look at: the property capabilities, and the class attribute declares.
        """
        declared = place.storage.capabilities
        assert isinstance(declared, frozenset)
        assert all(isinstance(one, Capability) for one in declared)
        if not isinstance(place.storage, StorageWrapper):  # a wrapper has what it wraps
            assert declared <= type(place.storage).declares
        with pytest.raises(AttributeError):
            place.storage.capabilities = frozenset()  # type: ignore[misc]  # that it is refused is what is tested
        assert (await place.second()).capabilities == declared
        await place.storage.store_interaction(place.name("ann"), {})
        assert place.storage.capabilities == declared

    @clause(
        CAPABILITIES,
        cases={name: _Belongs(call, call.subject) for name, call in FURTHER_METHODS.items() if call.subject},
    )
    async def test_methods_work_exactly_if_declared(self, place: Place, case: _Belongs) -> None:
        """A method of an undeclared capability raises UnsupportedOperationError, one of a declared capability does not.

        Look at: the class attribute declares, and what the method does; nothing is emulated behind the user's back.
        """
        agent = place.name("ann")
        await place.storage.store_interaction(agent, {"n": 0})  # so that watching has something to find
        if place.has(case.subject):
            await soon(case.call(place.storage, agent, place.name("key")), "the call")
            return
        with pytest.raises(UnsupportedOperationError, match=r"\S"):
            await soon(case.call(place.storage, agent, place.name("key")), "the refusal")
        assert await place.payloads(agent) == [{"n": 0}], "a refused call must change nothing"
        assert await place.storage.get_agent_state(agent) is None, "a refused call must change nothing"
        place.setting.refused()

    @clause(
        CAPABILITIES, cases={"namespace": _Belongs(FURTHER_METHODS["list_agents"], Capability.NAMESPACES)}
    )
    async def test_namespaces_are_an_option_exactly_if_declared(self, place: Place, case: _Belongs) -> None:
        """A backend that does not declare NAMESPACES refuses the option namespace; it never ignores it.

        Look at: constructors that take any keyword.
        """
        if place.has(case.subject):
            await place.open(namespace=place.setting.another_namespace())
            return
        refusals = (StorageError, TypeError) if callable(place.setting.source) else StorageError
        with pytest.raises(refusals, match=r"\S"):
            await place.open(namespace="conformance")
        place.setting.refused()
