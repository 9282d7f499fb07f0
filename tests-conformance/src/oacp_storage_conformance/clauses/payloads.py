"""Payloads: exactly what was stored comes back, and what would not is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place
from oacp_storage_core import (
    Capability,
    InvalidPayloadError,
    PayloadTooLargeError,
    Storage,
    StorageConfigError,
)

PAYLOADS = ClauseName.PAYLOADS
MEGABYTE = 1024 * 1024


def _nested(depth: int, leaf: Any = 1) -> dict[str, Any]:
    """An object of that depth: every level counts, objects and arrays alike."""
    value: Any = leaf
    for level in range(depth - 1):
        value = [value] if level % 2 else {"d": value}
    return {"d": value}


EXACT: dict[str, dict[str, Any]] = {
    "empty": {},
    "plain": {"type": "message", "role": "user", "content": "hello", "n": 3, "ok": True, "none": None},
    "NUL": {"text": "a\0b\0", "\0": "key", "a\0": {"\0\0": "\0"}},
    "keys": {"": 0, "a.b": 1, "$set": 2, "_id": 3, "$": 4, ".": 5, "..": 6, "__proto__": 7, "a/b": 8, " ": 9},
    "nested keys": {"a": {"": {"": {"_id": {"$gt": [{"a.b": {}}]}}}}},
    "key order": {"z": 1, "a": 2, "_id": 3, "m": {"y": 1, "b": 2, "x": 3}, "0": 4, "10": 5, "9": 6},
    "ints": {"v": [0, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30]},
    "long ints": {"v": [10**4299, -(10**4299), 10**4300 - 1, 7**5000]},
    "floats": {"v": [0.0, -0.0, 1.0, -1.0, 0.1, 1e16, 1e22, 1e308, 5e-324, 2.5e-310, 1e-7, 1.7976931348623157e308]},
    "int, float, bool": {"v": [1, 1.0, True, 0, 0.0, False, -0.0], "w": [100, 100.0, 1e2]},
    "empty values": {"list": [], "object": {}, "text": "", "none": None, "nested": [[], {}, [[]], [{}], ""]},
    "characters": {"v": "\u00e9 e\u0301 \u4e2d \U0001f600 \U0010ffff \ufffe \uffff \ufeff \u2028 \x7f \x80 \x01 \x1f"},
    "escapes": {"v": "\" \\ / \b \f \n \r \t \\u0000 \\n %s {} '' `", 'k"\\\n': 1},
    "astral keys": {"\U0001f600": {"\U0010ffff": 1}, "\u00e9": 1, "e\u0301": 2},
    "white space": {"v": [" lead", "trail ", "\n", "\t\r\n", "  "], " ": 1, "  ": 2},
    "look like something": {"v": ["null", "true", "1", "1.0", "NaN", "2024-05-01T12:00:00Z", "b'x'", "{}", "[]"]},
    "many keys": {f"key {n}": n for n in range(2_000)},
    "many items": {"v": list(range(20_000))},
    "long text": {"v": "x\u00e9\U0001f600\0" * 100_000},
    "depth 96": _nested(96),
    "depth 96, empty": _nested(95, {}),
}  # fmt: skip


class _Color(StrEnum):
    RED = "red"


class _Level(IntEnum):
    LOW = 1


class _Dict(dict[str, Any]):
    pass


class Refused(NamedTuple):
    """A payload that must be refused, and the place that the message must name."""

    payload: Any
    place: str


_CYCLE: dict[str, Any] = {}
_CYCLE["self"] = _CYCLE

REFUSED = {
    "NaN": Refused({"a": {"v": float("nan")}}, "$.a.v"),
    "infinity": Refused({"a": [1, float("inf")]}, "$.a[1]"),
    "minus infinity": Refused({"a": float("-inf")}, "$.a"),
    "lone surrogate": Refused({"a": {"v": "x\ud800y"}}, "$.a.v"),
    "lone low surrogate": Refused({"v": "\udfff"}, "$.v"),
    "surrogate key": Refused({"a": {"\ud800": 1}}, "$.a"),
    "tuple": Refused({"a": (1, 2)}, "$.a"),
    "nested tuple": Refused({"a": [{"b": [()]}]}, "$.a[0].b[0]"),
    "set": Refused({"a": {1}}, "$.a"),
    "frozenset": Refused({"a": frozenset()}, "$.a"),
    "bytes": Refused({"a": b"x"}, "$.a"),
    "bytearray": Refused({"a": bytearray(b"x")}, "$.a"),
    "datetime": Refused({"meta": {"when": datetime(2024, 5, 1)}}, "$.meta.when"),  # noqa: DTZ001 - refused either way
    "date": Refused({"a": date(2024, 5, 1)}, "$.a"),
    "timedelta": Refused({"a": timedelta(1)}, "$.a"),
    "Decimal": Refused({"a": Decimal("1.5")}, "$.a"),
    "UUID": Refused({"a": UUID(int=1)}, "$.a"),
    "complex": Refused({"a": 1j}, "$.a"),
    "object": Refused({"a": object()}, "$.a"),
    "class": Refused({"a": int}, "$.a"),
    "int key": Refused({"a": {1: "x"}}, "$.a"),
    "None key": Refused({None: "x"}, "$"),
    "bool key": Refused({"a": {True: "x"}}, "$.a"),
    "float key": Refused({1.5: "x"}, "$"),
    "text enum": Refused({"a": _Color.RED}, "$.a"),
    "int enum": Refused({"a": _Level.LOW}, "$.a"),
    "dict subclass": Refused({"a": _Dict(b=1)}, "$.a"),
    "iterator": Refused({"a": iter([])}, "$.a"),
    "long int": Refused({"a": [10**4300]}, "$.a[0]"),
    "depth 97": Refused(_nested(97), "$.d"),
    "depth 97, empty": Refused(_nested(96, {}), "$.d"),
    "depth 2000": Refused(_nested(2000), "$.d"),
    "itself": Refused(_CYCLE, "$.self"),
    "list": Refused([1], "$"),
    "text": Refused("x", "$"),
    "None": Refused(None, "$"),
}


class PayloadsClause:
    """What may be stored, wherever payloads are taken."""

    @clause(PAYLOADS, cases=EXACT)
    async def test_a_payload_comes_back_exactly(self, place: Place, case: dict[str, Any]) -> None:
        """A payload reads back equal, with the same types, key order kept, in every kind of data, after a restart too.

        Look at: how the store encodes, and every layer that parses: 1.0 and 1, -0.0, NUL, key order, long integers.
        """
        given = deepcopy(case)
        for put, _ in _ways(place):
            await put(place.storage, given)
            assert repr(given) == repr(case), "the caller's object was changed"
        for storage in (place.storage, await place.second()):
            for put, get in _ways(place):
                assert repr(await get(storage)) == repr(case), put.__name__
        storage = await place.reopen()
        for put, get in _ways(place):
            assert repr(await get(storage)) == repr(case), f"{put.__name__}, after a restart"

    @clause(PAYLOADS, cases=REFUSED)
    async def test_what_is_not_exact_json_is_refused(self, place: Place, case: Refused) -> None:
        """What does not read back equal raises InvalidPayloadError, which names the place, and nothing is stored.

        Look at: encoders that convert silently (tuples, datetimes, int keys, NaN), and where payloads are checked.
        """
        for put, get in _ways(place):
            if case.payload is None and put.__name__ == "updated":
                continue  # None from a change means that nothing is to be written
            with pytest.raises(InvalidPayloadError) as caught:
                await put(place.storage, case.payload)
            message = str(caught.value)  # in a batch the place begins with $[1]
            assert "$" in message, f"{put.__name__}: the message must name the place {case.place}"
            assert case.place.removeprefix("$") in message, (
                f"{put.__name__}: the message must name the place {case.place}"
            )
            assert await get(place.storage) is None, put.__name__
        if place.has(Capability.AGENTS):
            assert await place.storage.list_agents(prefix=place.name("ann")) == []

    @clause(PAYLOADS)
    async def test_a_payload_of_15_mib_is_taken(self, place: Place) -> None:
        """A payload of 15 MiB encoded is stored, and one byte more raises PayloadTooLargeError and stores nothing.

        Look at: limits of the driver or of the store's records, and what is counted.
        """
        agent = place.name("ann")
        largest = {"v": "x" * (15 * MEGABYTE - len('{"v":""}'))}
        with pytest.raises(PayloadTooLargeError):
            await place.storage.store_interaction(agent, {"v": largest["v"] + "x"})
        with pytest.raises(PayloadTooLargeError):
            await place.storage.store_agent_state(agent, {"v": "\u00e9" * (8 * MEGABYTE)})
        assert await place.payloads(agent) == []
        assert await place.storage.get_agent_state(agent) is None
        await place.storage.store_interaction(agent, largest)
        await place.storage.store_agent_state(agent, largest)
        assert await place.payloads(agent) == [largest]
        assert await (await place.second()).get_agent_state(agent) == largest

    @clause(PAYLOADS)
    async def test_the_callers_object_stays_the_callers(self, place: Place) -> None:
        """The caller's object is never changed, and changing it after the call changes nothing stored.

        Look at: drivers that add `_id`, and payloads that are kept by reference.
        """
        for put, get in _ways(place):
            payload: dict[str, Any] = {"a": {"b": [1, 2]}, "z": 1}
            await put(place.storage, payload)
            assert repr(payload) == "{'a': {'b': [1, 2]}, 'z': 1}", (
                f"{put.__name__} changed the caller's object"
            )
            payload["a"]["b"].append(3)
            payload["new"] = True
            for storage in (place.storage, await place.second()):
                assert await get(storage) == {"a": {"b": [1, 2]}, "z": 1}, put.__name__

    @clause(PAYLOADS)
    async def test_what_is_returned_is_the_callers(self, place: Place) -> None:
        """Changing what was returned changes nothing stored, nor what anybody else gets.

        Look at: caches that hand out the same object twice.
        """
        for put, get in _ways(place):
            await put(place.storage, {"a": {"b": [1, 2]}})
            got = await get(place.storage)
            assert got is not None
            got["a"]["b"].append(3)
            got["new"] = True
            for storage in (place.storage, await place.second()):
                assert await get(storage) == {"a": {"b": [1, 2]}}, put.__name__

    @clause(PAYLOADS, Capability.HISTORY, Capability.VERSIONED_STATE)
    async def test_the_data_of_records_is_the_callers(self, place: Place) -> None:
        """Changing the data of a record that was returned changes nothing stored.

        Look at: records that share their data with a cache or with the store.
        """
        agent, storage = place.name("ann"), place.storage
        ident = await storage.store_interaction(agent, {"v": [1]})
        await storage.store_agent_state(agent, {"v": [1]})
        for _ in range(2):
            (one,) = [record async for record in storage.iter_interactions(agent)]
            found = await storage.get_interaction(agent, ident)
            document = await storage.get_agent_state_document(agent)
            assert found is not None
            assert document is not None
            for data in (one.data, found.data, document.data):
                assert data == {"v": [1]}
                data["v"].append(2)

    @clause(PAYLOADS)
    async def test_coerce_turns_the_usual_into_json(self, place: Place) -> None:
        """coerce=True turns tuples into lists, datetimes into ISO 8601, NaN into null, lone surrogates into U+FFFD.

        Look at: whether the option coerce reaches core's payload rules on every method.
        """
        try:
            storage = await place.open(coerce=True)
        except (StorageConfigError, TypeError):
            place.setting.does_not_apply("the backend has no option coerce")
        when = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - a naive one is text as well as any
        given = {
            "t": (1, (2,)),
            "when": when,
            "nan": float("nan"),
            "inf": [float("inf")],
            "s": "x\ud800",
            "e": _Color.RED,
        }
        stored = {
            "t": [1, [2]],
            "when": "2024-05-01T12:00:00",
            "nan": None,
            "inf": [None],
            "s": "x\ufffd",
            "e": "red",
        }
        for put, get in _ways(place):
            await put(storage, given)
            assert repr(await get(await place.second())) == repr(stored), put.__name__
            assert given["t"] == (1, (2,)), "the caller's object was changed"
            with pytest.raises(InvalidPayloadError):
                await put(storage, {"b": b"bytes are not coerced"})


Put = Callable[[Storage, Any], Awaitable[object]]
Get = Callable[[Storage], Awaitable[dict[str, Any] | None]]


def _ways(place: Place) -> list[tuple[Put, Get]]:
    """Every way in which a payload goes in, with the way in which it comes back."""
    ann, has = place.name("ann"), place.has

    async def interaction(storage: Storage, payload: Any) -> None:
        await storage.store_interaction(ann, payload)

    async def last_interaction(storage: Storage) -> dict[str, Any] | None:
        found = await storage.get_interactions(ann, 1)
        return found[0] if found else None

    async def state(storage: Storage, payload: Any) -> None:
        await storage.store_agent_state(ann, payload)

    async def get_state(storage: Storage) -> dict[str, Any] | None:
        return await storage.get_agent_state(ann)

    async def batch(storage: Storage, payload: Any) -> None:
        await storage.store_interactions(ann + " batch", [{"first": 1}, payload])

    async def last_of_batch(storage: Storage) -> dict[str, Any] | None:
        found = await storage.get_interactions(ann + " batch", 1)
        return found[0] if found else None

    async def learning(storage: Storage, payload: Any) -> None:
        await storage.store_learning_data(ann, "k", payload)

    async def get_learning(storage: Storage) -> dict[str, Any] | None:
        return await storage.get_learning_data(ann, "k")

    async def system(storage: Storage, payload: Any) -> None:
        await storage.store_system_state(ann, payload)

    async def get_system(storage: Storage) -> dict[str, Any] | None:
        return await storage.get_system_state(ann)

    async def turn(storage: Storage, payload: Any) -> None:
        await storage.record_turn(ann + " turn", interactions=[payload], state=payload)

    async def turn_state(storage: Storage) -> dict[str, Any] | None:
        found, state = (
            await storage.get_interactions(ann + " turn", 1),
            await storage.get_agent_state(ann + " turn"),
        )
        assert repr(found) == repr([state] if state is not None else [])
        return state

    async def updated(storage: Storage, payload: Any) -> None:
        await storage.update_agent_state(ann + " updated", lambda _: payload)

    async def get_updated(storage: Storage) -> dict[str, Any] | None:
        return await storage.get_agent_state(ann + " updated")

    ways: list[tuple[Put, Get]] = [(interaction, last_interaction), (state, get_state)]
    if has(Capability.BATCH_APPEND):
        ways.append((batch, last_of_batch))
    if has(Capability.LEARNING_DATA):
        ways.append((learning, get_learning))
    if has(Capability.SYSTEM_STATE):
        ways.append((system, get_system))
    if has(Capability.TURN):
        ways.append((turn, turn_state))
    if has(Capability.VERSIONED_STATE):
        ways.append((updated, get_updated))
    return ways
