"""Given ids: the same id again changes nothing. And batches: all or nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place, sequences
from oacp_storage_core import Capability, DuplicateIdError, Interaction, InvalidPayloadError

IDEMPOTENCY, BATCHES, PAYLOADS = ClauseName.IDEMPOTENCY, ClauseName.BATCHES, ClauseName.PAYLOADS
WHEN = datetime(2024, 5, 1, 12, 30, 15, 123456, tzinfo=UTC)

OTHER_PAYLOADS: dict[str, dict[str, Any]] = {
    "another value": {"a": 1, "b": 2.5},
    "one key more": {"a": 1, "b": 2.0, "c": None},
    "one key less": {"a": 1},
    "another key order": {"b": 2.0, "a": 1},
    "int for float": {"a": 1, "b": 2},
    "float for int": {"a": 1.0, "b": 2.0},
    "true for 1": {"a": True, "b": 2.0},
    "text for number": {"a": "1", "b": 2.0},
}


class IdempotencyClause:
    """``interaction_id=`` and ``store_interactions``."""

    @clause(IDEMPOTENCY)
    async def test_generated_ids_are_distinct_text(self, place: Place) -> None:
        """store_interaction returns the id of the interaction, text that no other interaction of the agent has.

        Look at: ids made from the second or the millisecond, which two calls share.
        """
        agent = place.name("ann")
        ids = await asyncio.gather(*(place.storage.store_interaction(agent, {"n": n}) for n in range(200)))
        assert {type(one) for one in ids} == {str}
        assert all(0 < len(one.encode()) <= 512 for one in ids)
        assert len(set(ids)) == 200

    @clause(IDEMPOTENCY, Capability.IDEMPOTENT_APPEND, Capability.HISTORY)
    async def test_the_same_id_again_changes_nothing(self, place: Place) -> None:
        """The same id again for that agent returns it and changes nothing: one interaction, its first timestamp.

        Look at: the lookup of given ids before the append, and what a repeated call writes.
        """
        agent = place.name("ann")
        payload = {"text": "once", "n": 1}
        assert (
            await place.storage.store_interaction(agent, payload, interaction_id="one", timestamp=WHEN)
            == "one"
        )
        await place.storage.store_interaction(agent, {"text": "between"})
        assert await place.storage.store_interaction(agent, payload, interaction_id="one") == "one"
        assert await (await place.second()).store_interaction(agent, payload, interaction_id="one") == "one"
        log = await place.log(agent)
        assert [(one.sequence, one.data["text"]) for one in log] == [(1, "once"), (2, "between")]
        assert log[0] == Interaction(agent, "one", 1, WHEN, payload)
        await place.storage.store_interaction(agent, {"text": "after"})
        assert sequences(await place.log(agent)) == [1, 2, 3], "a repeated call must use up no sequence"

    @clause(IDEMPOTENCY, Capability.IDEMPOTENT_APPEND, cases=OTHER_PAYLOADS)
    async def test_the_same_id_with_another_payload_is_refused(
        self, place: Place, case: dict[str, Any]
    ) -> None:
        """The same id with another payload raises DuplicateIdError; types and key order are part of the payload.

        Look at: the comparison of payloads; == calls 1, 1.0 and True equal and does not look at key order.
        """
        agent = place.name("ann")
        first = {"a": 1, "b": 2.0}
        await place.storage.store_interaction(agent, first, interaction_id="one")
        with pytest.raises(DuplicateIdError):
            await place.storage.store_interaction(agent, case, interaction_id="one")
        assert repr(await place.payloads(agent)) == repr([first])

    @clause(IDEMPOTENCY, Capability.IDEMPOTENT_APPEND)
    async def test_ids_belong_to_their_agent(self, place: Place) -> None:
        """An id is one for its agent only: another agent may use the same one for something else.

        Look at: ids that are unique over the whole store.
        """
        agent, other = place.name("ann"), place.name("bob")
        await place.storage.store_interaction(agent, {"of": "ann"}, interaction_id="one")
        await place.storage.store_interaction(other, {"of": "bob"}, interaction_id="one")
        assert await place.payloads(agent) == [{"of": "ann"}]
        assert await place.payloads(other) == [{"of": "bob"}]

    @clause(IDEMPOTENCY, Capability.IDEMPOTENT_APPEND)
    async def test_one_id_at_once_is_stored_once(self, place: Place) -> None:
        """The same id from many tasks and two storages at once is stored once, and all get it back.

        Look at: the time between looking an id up and writing it; only the store can close it.
        """
        agent = place.name("ann")
        storages = (place.storage, await place.second())
        for n in range(10):
            calls = [
                storages[i % 2].store_interaction(agent, {"n": n}, interaction_id=f"id {n}") for i in range(8)
            ]
            assert await asyncio.gather(*calls) == [f"id {n}"] * 8
        assert await place.payloads(agent) == [{"n": n} for n in range(10)]

    @clause(IDEMPOTENCY, Capability.IDEMPOTENT_APPEND)
    async def test_one_id_at_once_with_several_payloads_has_one_winner(self, place: Place) -> None:
        """Of several payloads under one id at once, one is stored, and the calls of the others get DuplicateIdError.

        Look at: the time between looking an id up and writing it; only the store can close it.
        """
        agent = place.name("ann")
        storages = (place.storage, await place.second())
        calls = [storages[i % 2].store_interaction(agent, {"by": i}, interaction_id="one") for i in range(10)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        won = [i for i, result in enumerate(results) if result == "one"]
        assert len(won) == 1, f"several calls were acknowledged: {won}"
        assert sum(isinstance(result, DuplicateIdError) for result in results) == 9, results
        assert await place.payloads(agent) == [{"by": won[0]}]

    # --- batches ------------------------------------------------------------------------------------------

    @clause(BATCHES, Capability.BATCH_APPEND)
    async def test_a_batch_is_stored_in_its_order(self, place: Place) -> None:
        """store_interactions stores all of them in their order and returns as many ids, in that order.

        Look at: the order in which rows are inserted, and which ids are returned.
        """
        agent = place.name("ann")
        ids = await place.storage.store_interactions(agent, [{"n": n} for n in range(300)])
        assert len(ids) == len(set(ids)) == 300
        assert await place.payloads(agent) == [{"n": n} for n in range(300)]
        if place.has(Capability.HISTORY):
            assert [one.id for one in await place.log(agent)] == ids

    @clause(BATCHES, Capability.BATCH_APPEND)
    async def test_an_empty_batch_stores_nothing(self, place: Place) -> None:
        """An empty batch returns [] and stores nothing.

        Look at: statements built from an empty list.
        """
        assert await place.storage.store_interactions(place.name("ann"), []) == []
        assert await place.payloads(place.name("ann")) == []

    @clause(BATCHES, Capability.BATCH_APPEND, cases={"first": 0, "in the middle": 25, "last": 49})
    async def test_a_batch_with_one_bad_payload_stores_nothing(self, place: Place, case: int) -> None:
        """A batch is stored all or nothing: one payload that is refused, and none is stored.

        Look at: whether every payload is checked before the first is written.
        """
        agent = place.name("ann")
        batch: list[dict[str, Any]] = [{"n": n} for n in range(50)]
        batch[case] = {"n": {"bad": object()}}
        with pytest.raises(InvalidPayloadError, match=str(case)):
            await place.storage.store_interactions(agent, batch)
        assert await place.payloads(agent) == []

    @clause(BATCHES, Capability.BATCH_APPEND, cases={"first": 0, "in the middle": 25, "last": 49})
    async def test_a_batch_with_one_taken_id_stores_nothing(self, place: Place, case: int) -> None:
        """A batch is stored all or nothing: one id that is taken, and none is stored.

        Look at: whether the whole batch is one transaction, and that it is rolled back.
        """
        agent = place.name("ann")
        batch = [Interaction(agent, f"id {n}", 0, WHEN, {"n": n}) for n in range(50)]
        await place.storage.store_interactions(
            agent, [Interaction(agent, f"id {case}", 0, WHEN, {"n": "another"})]
        )
        with pytest.raises(DuplicateIdError):
            await place.storage.store_interactions(agent, batch)
        assert await place.payloads(agent) == [{"n": "another"}]
        await place.storage.store_interaction(agent, {"n": "next"})
        if place.has(Capability.HISTORY):
            assert sequences(await place.log(agent)) == [1, 2], "a refused batch must use up no sequence"

    @clause(BATCHES, Capability.BATCH_APPEND, Capability.HISTORY)
    async def test_records_keep_their_ids_and_times(self, place: Place) -> None:
        """A batch takes dicts and Interaction records, mixed; records keep ids and timestamps, the store counts.

        Look at: whether the sequence of a record is ignored, and its id and time are kept.
        """
        agent = place.name("ann")
        batch: list[Any] = [
            {"n": 0},
            Interaction(agent, "given", 77, WHEN, {"n": 1}),
            {"n": 2},
            Interaction(agent, "also given", 0, WHEN, {"n": 3}),
        ]
        ids = await place.storage.store_interactions(agent, batch)
        assert (ids[1], ids[3]) == ("given", "also given")
        log = await place.log(agent)
        assert [(one.sequence, one.data["n"]) for one in log] == [(1, 0), (2, 1), (3, 2), (4, 3)]
        assert [one.id for one in log] == ids
        assert [log[1].timestamp, log[3].timestamp] == [WHEN, WHEN]

    @clause(BATCHES, Capability.BATCH_APPEND, Capability.HISTORY)
    async def test_each_record_of_a_batch_is_idempotent(self, place: Place) -> None:
        """Each record of a batch is idempotent by itself: those that exist change nothing, the others are stored.

        Look at: batches that are looked up as a whole, and ids looked up before the batch only.
        """
        agent = place.name("ann")
        records = [Interaction(agent, f"id {n}", 0, WHEN, {"n": n}) for n in range(6)]
        await place.storage.store_interactions(agent, records[1:3])
        assert await place.storage.store_interactions(agent, records) == [f"id {n}" for n in range(6)]
        assert await place.storage.store_interactions(agent, records) == [f"id {n}" for n in range(6)]
        log = await place.log(agent)
        assert [one.data["n"] for one in log] == [1, 2, 0, 3, 4, 5]
        assert sequences(log) == [1, 2, 3, 4, 5, 6]

    @clause(BATCHES, Capability.BATCH_APPEND, Capability.HISTORY)
    async def test_one_id_twice_in_a_batch(self, place: Place) -> None:
        """An id twice in one batch is stored once if the payload is the same; otherwise the batch is refused whole.

        Look at: ids looked up in the store but not within the batch.
        """
        agent = place.name("ann")
        twice = Interaction(agent, "one", 0, WHEN, {"n": 1})
        assert await place.storage.store_interactions(agent, [twice, {"n": 2}, twice])
        assert [one.data["n"] for one in await place.log(agent)] == [1, 2]
        other = place.name("bob")
        with pytest.raises(DuplicateIdError):
            await place.storage.store_interactions(
                other,
                [
                    Interaction(other, "one", 0, WHEN, {"n": 1}),
                    {"n": 2},
                    Interaction(other, "one", 0, WHEN, {"n": 3}),
                ],
            )
        assert await place.log(other) == []

    @clause(BATCHES, Capability.BATCH_APPEND)
    async def test_records_of_another_agent_are_refused(self, place: Place) -> None:
        """A record that belongs to another agent is not stored under this one: ValueError, and nothing is stored.

        Look at: whether agent_id of records is compared with that of the call.
        """
        agent, other = place.name("ann"), place.name("bob")
        with pytest.raises(ValueError, match=r"\S"):
            await place.storage.store_interactions(
                agent, [{"n": 1}, Interaction(other, "x", 0, WHEN, {"n": 2})]
            )
        assert await place.payloads(agent) == []
        assert await place.payloads(other) == []
