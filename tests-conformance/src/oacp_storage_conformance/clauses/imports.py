"""Import: records of another store are taken over with their sequences and versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place
from oacp_storage_core import Capability, Document, DuplicateIdError, Interaction, InvalidPayloadError

IMPORT = ClauseName.IMPORT
NEEDS = (Capability.IMPORT, Capability.HISTORY, Capability.VERSIONED_STATE, Capability.LEARNING_DATA)
WHEN = datetime(2024, 5, 1, 12, 0, 0, 7, tzinfo=UTC)


class ImportClause:
    """``import_records`` and ``import_system_state``."""

    @clause(IMPORT, *NEEDS)
    async def test_records_are_taken_over_as_they_are(self, place: Place) -> None:
        """import_records keeps sequences (holes too), ids, times, versions and data; the log then goes on after them.

        Look at: what the store assigns by itself where it should take what is given.
        """
        agent, other = place.name("ann"), await place.second()
        log = [_one(agent, sequence) for sequence in (3, 4, 9, 20)]
        state = Document("", {"n": 1, "a": 2.0}, 17, WHEN)
        learning = [Document("k", {"of": "k"}, 4, WHEN), Document("a", {}, 1, WHEN + timedelta(days=1))]
        await place.storage.import_records(agent, interactions=log, state=state, learning=learning)
        assert await place.log(agent) == log
        assert await other.get_agent_state_document(agent) == state
        assert await other.list_learning_data(agent) == [learning[1], learning[0]]
        if place.has(Capability.AGENTS):
            assert await other.list_agents(prefix=agent) == [agent]
        await place.storage.store_interaction(agent, {"n": "next"})
        assert [one.sequence for one in await place.log(agent, after=9)] == [20, 21]
        assert await place.storage.store_agent_state(agent, {}, expected_version=17) == 18

    @clause(IMPORT, *NEEDS)
    async def test_importing_again_changes_nothing(self, place: Place) -> None:
        """Records that are already there unchanged are passed over, and what follows is taken over.

        Look at: the comparison of given sequences and ids with what is there.
        """
        agent = place.name("ann")
        log = [_one(agent, sequence) for sequence in range(1, 8)]
        await place.storage.import_records(agent, interactions=log[:4])
        await place.storage.import_records(agent, interactions=log[:4])
        assert await place.log(agent) == log[:4]
        await place.storage.import_records(agent, interactions=log[2:])
        assert await place.log(agent) == log
        await place.storage.import_records(agent)
        assert await place.log(agent) == log

    @clause(IMPORT, *NEEDS)
    async def test_what_is_taken_by_something_else_is_refused(self, place: Place) -> None:
        """A sequence or an id that something else has raises DuplicateIdError, and nothing of the call is stored.

        Look at: whether sequence, id, time and payload are all compared, and whether the import is one step.
        """
        agent = place.name("ann")
        log = [_one(agent, sequence) for sequence in (1, 2, 5)]
        await place.storage.import_records(agent, interactions=log)
        taken: list[Interaction] = [
            Interaction(agent, "id 2", 2, WHEN, {"n": "another payload"}),
            Interaction(agent, "another id", 2, WHEN, {"n": 2}),
            Interaction(agent, "id 2", 7, WHEN, {"n": 2}),
            Interaction(agent, "new", 4, WHEN, {"n": 4}),  # not after the head: it would come out of order
        ]
        for wrong in taken:
            with pytest.raises(DuplicateIdError):
                await place.storage.import_records(
                    agent,
                    interactions=sorted([_one(agent, 6), wrong], key=lambda one: one.sequence),
                    state=Document("", {}, 1, WHEN),
                )
        assert await place.log(agent) == log
        assert await place.storage.get_agent_state(agent) is None

    @clause(IMPORT, *NEEDS)
    async def test_imported_documents_replace_what_is_there(self, place: Place) -> None:
        """Imported documents replace what is there, whatever its version, and bring their own.

        Look at: versions that are counted up instead of taken over.
        """
        agent = place.name("ann")
        for n in range(3):
            await place.storage.store_agent_state(agent, {"n": n})
            await place.storage.store_learning_data(agent, "k", {"n": n})
        state, learned = Document("", {"new": 1}, 2, WHEN), Document("k", {"new": 2}, 9, WHEN)
        await place.storage.import_records(agent, state=state, learning=[learned])
        other = await place.second()
        assert await other.get_agent_state_document(agent) == state
        assert await other.get_learning_data_document(agent, "k") == learned

    @clause(IMPORT, Capability.IMPORT, Capability.SYSTEM_STATE)
    async def test_system_state_is_taken_over(self, place: Place) -> None:
        """import_system_state takes one document over with its version, replacing what is there.

        Look at: versions that are counted up instead of taken over.
        """
        key, other = place.name("key"), await place.second()
        for version in (5, 2, 2**40):
            document = Document(key, {"n": version}, version, WHEN)
            await place.storage.import_system_state(document)
            assert await other.get_system_state_document(key) == document
        assert await place.storage.store_system_state(key, {}, expected_version=2**40) == 2**40 + 1

    @clause(IMPORT, *NEEDS)
    async def test_imports_are_checked_like_everything_else(self, place: Place) -> None:
        """An import passes the same checks: payloads, naive times, sequences below 1, records of another agent.

        Look at: a way into the store that skips the rules; nothing may be stored.
        """
        agent = place.name("ann")
        naive = WHEN.replace(tzinfo=None)
        wrong: list[tuple[type[Exception], dict[str, Any]]] = [
            (
                InvalidPayloadError,
                {"interactions": [_one(agent, 1), Interaction(agent, "x", 2, WHEN, {"n": (1,)})]},
            ),
            (ValueError, {"interactions": [_one(agent, 1), Interaction(agent, "x", 2, naive, {})]}),
            (ValueError, {"interactions": [Interaction(agent, "x", 0, WHEN, {})]}),
            (ValueError, {"interactions": [_one(place.name("bob"), 1)]}),
            (
                InvalidPayloadError,
                {"interactions": [_one(agent, 1)], "state": Document("", {"n": {1}}, 1, WHEN)},
            ),
            (ValueError, {"interactions": [_one(agent, 1)], "state": Document("", {}, 1, naive)}),
        ]
        for error, arguments in wrong:
            with pytest.raises(error):
                await place.storage.import_records(agent, **arguments)
        assert await place.log(agent) == []
        assert await place.storage.get_agent_state(agent) is None

    @clause(IMPORT, *NEEDS, Capability.NAMESPACES)
    async def test_a_copy_is_equal_record_by_record(self, place: Place) -> None:
        """What is exported from one store and imported into another is equal, record by record.

        Look at: what a record loses on its way in or out.
        """
        agent, there = place.name("ann"), await place.open(namespace=place.setting.another_namespace())
        ids = await place.fill(agent, 30)
        if place.has(Capability.RETENTION):
            await place.storage.delete_interactions(agent, ids=ids[3:7])
        await place.storage.store_agent_state(agent, {"n": 1})
        for n in range(3):
            await place.storage.store_learning_data(agent, f"k{n % 2}", {"n": n})
        log = await place.log(agent)
        state = await place.storage.get_agent_state_document(agent)
        learning = await place.storage.list_learning_data(agent)
        await there.import_records(agent, interactions=log[:10], state=state, learning=learning)
        await there.import_records(agent, interactions=log[10:])
        assert [one async for one in there.iter_interactions(agent)] == log
        assert await there.get_agent_state_document(agent) == state
        assert await there.list_learning_data(agent) == learning


def _one(agent: str, sequence: int) -> Interaction:
    moment = WHEN - timedelta(hours=sequence)
    return Interaction(agent, f"id {sequence}", sequence, moment, {"n": sequence})
