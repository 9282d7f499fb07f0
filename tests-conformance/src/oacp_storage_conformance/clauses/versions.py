"""Versions: documents count 1, 2, 3 ..., and compare-and-set holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.documents import KINDS, DocumentHandle, DocumentKind
from oacp_storage_conformance.place import Place
from oacp_storage_core import Capability, Document, VersionConflictError

VERSIONS = ClauseName.VERSIONS


class VersionsClause:
    """Versioned documents; each test runs on agent state, learning data and system state."""

    @clause(VERSIONS)
    async def test_the_state_is_the_last_one_stored(self, place: Place) -> None:
        """get_agent_state returns the state that was stored last, whole: states are replaced, not merged.

        Look at: states that are kept as single fields, where old ones remain.
        """
        agent = place.name("ann")
        assert await place.storage.get_agent_state(agent) is None
        for state in ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {}, {"e": None}):
            await place.storage.store_agent_state(agent, state)
            assert await place.storage.get_agent_state(agent) == state
            assert await (await place.second()).get_agent_state(agent) == state
        assert await place.storage.get_agent_state(place.name("bob")) is None

    @clause(VERSIONS, cases=KINDS)
    async def test_a_version_starts_at_one_and_grows_by_one(self, place: Place, case: DocumentKind) -> None:
        """A document's version starts at 1 and grows by 1 with each write, also when the data stays the same.

        Look at: versions that start at 0, or that are shared by documents.
        """
        one, two = _handle(place, case, "one"), _handle(place, case, "two")
        for n in (1, 2, 3):
            assert await one.store({"n": n}) == n
            assert await _seen(place, one) == (n, {"n": n})
        assert await one.store({"n": 3}) == 4
        assert await two.store({"n": 1}) == 1
        document = await one.document()
        assert isinstance(document, Document)
        assert document.key == ("" if case.noun == "agent_state" else one.address[-1])
        assert (document.version, document.data) == (4, {"n": 3})
        assert await one.get() == {"n": 3}

    @clause(VERSIONS, cases=KINDS)
    async def test_a_missing_document_is_none(self, place: Place, case: DocumentKind) -> None:
        """Where there is no document, reading gives None, and deleting gives False.

        Look at: lookups that raise for a missing row, key or file.
        """
        one = _handle(place, case, "missing")
        assert await one.get() is None
        assert await one.document() is None
        assert await one.delete() is False

    @clause(VERSIONS, cases=KINDS)
    async def test_the_expected_version_writes(self, place: Place, case: DocumentKind) -> None:
        """expected_version=n writes if the document is at version n, and 0 if there is none.

        Look at: 0 taken for "not given".
        """
        one = _handle(place, case, "one")
        assert await one.store({"n": 1}, expected=0) == 1
        assert await one.store({"n": 2}, expected=1) == 2
        assert await one.store({"n": 3}, expected=2) == 3
        assert await _seen(place, one) == (3, {"n": 3})

    @clause(VERSIONS, cases=KINDS)
    async def test_another_version_is_a_conflict_and_writes_nothing(
        self, place: Place, case: DocumentKind
    ) -> None:
        """Any other expected_version raises VersionConflictError(expected, actual), and nothing is written.

        Look at: the condition in the write itself; also what `actual` says.
        """
        one = _handle(place, case, "one")
        await _conflict(one.store({"n": 1}, expected=1), 1, 0)
        await _conflict(one.store({"n": 1}, expected=7), 7, 0)
        assert await _seen(place, one) == (0, None)
        await one.store({"n": 1})
        await one.store({"n": 2})
        for expected in (0, 1, 3, 99):
            await _conflict(one.store({"n": "wrong"}, expected=expected), expected, 2)
        assert await _seen(place, one) == (2, {"n": 2})
        assert await one.store({"n": 3}, expected=2) == 3

    @clause(VERSIONS, cases=KINDS)
    async def test_a_negative_expected_version_is_refused(self, place: Place, case: DocumentKind) -> None:
        """A negative expected_version raises ValueError, and nothing is written or deleted.

        Look at: the check of expected_version.
        """
        one = _handle(place, case, "one")
        await one.store({"n": 1})
        with pytest.raises(ValueError, match=r"\S"):
            await one.store({"n": 2}, expected=-1)
        with pytest.raises(ValueError, match=r"\S"):
            await one.delete(expected=-1)
        assert await _seen(place, one) == (1, {"n": 1})

    @clause(VERSIONS, cases=KINDS)
    async def test_deleting_asks_for_the_version_too(self, place: Place, case: DocumentKind) -> None:
        """delete_... with expected_version deletes only at that version; otherwise VersionConflictError.

        Look at: expected_version ignored when deleting.
        """
        one = _handle(place, case, "one")
        await one.store({"n": 1})
        await one.store({"n": 2})
        for expected in (0, 1, 3):
            await _conflict(one.delete(expected=expected), expected, 2)
        assert await _seen(place, one) == (2, {"n": 2})
        assert await one.delete(expected=2) is True
        assert await _seen(place, one) == (0, None)
        await _conflict(one.delete(expected=2), 2, 0)
        assert await one.delete() is False

    @clause(VERSIONS, cases=KINDS)
    async def test_recreating_starts_at_one_again(self, place: Place, case: DocumentKind) -> None:
        """Deleting and re-creating starts at version 1 again.

        Look at: deleted documents that remain as marked rows with their old version.
        """
        one = _handle(place, case, "one")
        await one.store({"n": 1})
        await one.store({"n": 2})
        assert await one.delete() is True
        assert await one.get() is None
        assert await one.store({"n": 3}, expected=0) == 1
        assert await _seen(place, one) == (1, {"n": 3})
        assert await one.delete(expected=1) is True
        assert await one.store({"n": 4}) == 1

    @clause(VERSIONS, cases=KINDS)
    async def test_update_changes_what_is_there(self, place: Place, case: DocumentKind) -> None:
        """update_... hands `change` the data or None, writes what it returns, and returns the document as it is then.

        Look at: what update_... passes to change, and what it returns.
        """
        one = _handle(place, case, "one")
        seen: list[dict[str, Any] | None] = []

        def change(data: dict[str, Any] | None) -> dict[str, Any]:
            seen.append(data)
            return {"n": (data or {"n": 0})["n"] + 1}

        for n in (1, 2, 3):
            document = await one.update(change)
            assert document is not None
            assert (document.version, document.data) == (n, {"n": n})
            assert await _seen(place, one) == (n, {"n": n})
        assert seen == [None, {"n": 1}, {"n": 2}]

    @clause(VERSIONS, cases=KINDS)
    async def test_change_may_be_async(self, place: Place, case: DocumentKind) -> None:
        """`change` may be an async function, which may use the storage itself.

        Look at: whether the result of change is awaited, and locks held while it runs.
        """
        one, other = _handle(place, case, "one"), _handle(place, case, "other")

        async def change(data: dict[str, Any] | None) -> dict[str, Any]:
            await other.store({"inside": True})
            await asyncio.sleep(0)
            return {"n": 1, "before": data}

        document = await one.update(change)
        assert document is not None
        assert document.data == {"n": 1, "before": None}
        assert await _seen(place, one) == (1, {"n": 1, "before": None})
        assert await _seen(place, other) == (1, {"inside": True})

    @clause(VERSIONS, cases=KINDS)
    async def test_change_may_write_nothing(self, place: Place, case: DocumentKind) -> None:
        """When `change` returns None nothing is written; the document comes back as it is, None where there is none.

        Look at: None stored as a document or taken for a deletion.
        """
        one = _handle(place, case, "one")
        assert await one.update(lambda _data: None) is None
        assert await _seen(place, one) == (0, None)
        await one.store({"n": 1})

        def spoil(data: dict[str, Any] | None) -> None:
            assert data is not None
            data["n"] = "changed in place"

        document = await one.update(spoil)
        assert document is not None
        assert (document.version, document.data) == (1, {"n": 1})
        assert await _seen(place, one) == (1, {"n": 1})

    @clause(VERSIONS, cases=KINDS)
    async def test_change_may_fail(self, place: Place, case: DocumentKind) -> None:
        """What `change` raises comes out of update_... as it is, and nothing is written.

        Look at: errors of change that are wrapped, swallowed or repeated.
        """
        one = _handle(place, case, "one")
        await one.store({"n": 1})

        def change(_data: dict[str, Any] | None) -> dict[str, Any]:
            raise LookupError("of the caller")

        with pytest.raises(LookupError, match="of the caller"):
            await one.update(change)
        assert await _seen(place, one) == (1, {"n": 1})

    @clause(VERSIONS, cases=KINDS)
    async def test_update_runs_again_on_conflict(self, place: Place, case: DocumentKind) -> None:
        """When somebody else writes in between, update_... reads again and runs `change` again: no write is lost.

        Look at: whether update_... writes with the version it has read.
        """
        one = _handle(place, case, "one")
        elsewhere = case.of(await place.second(), one.address)
        await one.store({"n": 0, "by": []})
        runs = 0

        async def change(data: dict[str, Any] | None) -> dict[str, Any]:
            nonlocal runs
            runs += 1
            assert data is not None
            if runs <= 3:
                await elsewhere.store({"n": data["n"] + 10, "by": [*data["by"], "other"]})
            return {"n": data["n"] + 1, "by": [*data["by"], "change"]}

        document = await one.update(change)
        assert document is not None
        assert document.data == {"n": 31, "by": ["other"] * 3 + ["change"]}
        assert runs == 4
        assert await _seen(place, one) == (5, document.data)

    @clause(VERSIONS, cases=KINDS)
    async def test_updates_at_once_lose_nothing(self, place: Place, case: DocumentKind) -> None:
        """Increments by update_... from many tasks and two storages at once all count.

        Look at: compare and set done in two steps, in memory of one instance.
        """
        one = _handle(place, case, "counter")
        handles = (one, case.of(await place.second(), one.address))

        async def count(handle: DocumentHandle) -> None:
            for _ in range(5):
                await handle.update(lambda data: {"n": (data or {"n": 0})["n"] + 1})

        await asyncio.gather(*(count(handles[i % 2]) for i in range(8)))
        assert await _seen(place, one) == (40, {"n": 40})

    @clause(VERSIONS, cases=KINDS)
    async def test_one_of_many_expecting_the_same_version_wins(
        self, place: Place, case: DocumentKind
    ) -> None:
        """Of many writes at once that expect the same version, one is written, and the others get the conflict.

        Look at: the time between the comparison and the write; only the store can close it.
        """
        one = _handle(place, case, "one")
        handles = (one, case.of(await place.second(), one.address))
        for version in range(4):
            calls = [handles[i % 2].store({"by": i}, expected=version) for i in range(10)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            won = [i for i, result in enumerate(results) if result == version + 1]
            assert len(won) == 1, f"one write of ten must win, these were acknowledged: {won}; {results}"
            conflicts = [result for result in results if isinstance(result, VersionConflictError)]
            assert len(conflicts) == 9, results
            assert {(exc.expected, exc.actual) for exc in conflicts} == {(version, version + 1)}
            assert await _seen(place, one) == (version + 1, {"by": won[0]})

    @clause(VERSIONS, Capability.VERSIONED_STATE)
    async def test_appends_never_conflict(self, place: Place) -> None:
        """Appends never conflict, whoever appends or writes the state of the same agent at the same time.

        Look at: heads that are compared and set without trying again.
        """
        agent = place.name("ann")
        storages = (place.storage, await place.second())
        appends = [storages[i % 2].store_interaction(agent, {"n": i}) for i in range(60)]
        states = [storages[i % 2].store_agent_state(agent, {"n": i}) for i in range(20)]
        await asyncio.gather(*appends, *states)
        assert sorted(one["n"] for one in await place.payloads(agent)) == list(range(60))
        document = await storages[1].get_agent_state_document(agent)
        assert document is not None
        assert document.version == 20


def _handle(place: Place, kind: DocumentKind, label: str) -> DocumentHandle:
    return kind.of(place.storage, kind.named(place, label))


async def _seen(place: Place, handle: DocumentHandle) -> tuple[int, dict[str, Any] | None]:
    """Version and data as the second instance sees them."""
    return await DocumentHandle(await place.second(), handle.noun, handle.address).state()


async def _conflict(call: Any, expected: int, actual: int) -> None:
    __tracebackhide__ = True
    with pytest.raises(VersionConflictError) as caught:
        await call
    assert (caught.value.expected, caught.value.actual) == (expected, actual)
