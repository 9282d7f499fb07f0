"""``where=``: which interactions a condition on their payload lets through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place, collect
from oacp_storage_core import Capability

WHERE = ClauseName.WHERE
HISTORY = Capability.HISTORY
BIG = 2**53


class Cases(NamedTuple):
    """Payloads under labels, and conditions with the labels that they let through."""

    payloads: Mapping[str, dict[str, Any]]
    expected: list[tuple[dict[str, Any], str]]


CASES = {
    "paths": Cases(
        {
            "a": {"user": {"name": "ann", "age": 3}, "x": 1},
            "b": {"user": {"name": "bob"}},
            "c": {"user": "ann"},
            "d": {"user.name": "ann"},
            "e": {},
        },
        [
            ({"user.name": "ann"}, "a"),
            ({"/user/name": "ann"}, "a"),
            ({"/user.name": "ann"}, "d"),
            ({"user": "ann"}, "c"),
            ({"user.name": "ann", "x": 1}, "a"),
            ({"user.name": "ann", "x": 2}, ""),
            ({"user.age": {"$exists": True}}, "a"),
            ({}, "abcde"),
        ],
    ),
    "arrays": Cases(
        {
            "a": {"tags": ["x", "y"]},
            "b": {"tags": ["y", {"k": 1}]},
            "c": {"tags": "x"},
            "d": {"tags": {"0": "x"}},
            "e": {"tags": []},
        },
        [
            ({"tags": "x"}, "c"),
            ({"tags.0": "x"}, "ad"),
            ({"/tags/1": "y"}, "a"),
            ({"tags.1.k": 1}, "b"),
            ({"tags": ["x", "y"]}, "a"),
            ({"tags": ["y", "x"]}, ""),
            ({"tags": []}, "e"),
            ({"tags.-1": {"$exists": True}}, ""),
            ({"tags.00": {"$exists": True}}, ""),
            ({"tags.2": {"$exists": False}}, "abcde"),
            ({"tags": {"$in": ["x", []]}}, "ce"),
        ],
    ),
    "numbers": Cases(
        {
            "a": {"v": 1},
            "b": {"v": 1.0},
            "c": {"v": True},
            "d": {"v": "1"},
            "e": {"v": 2},
            "f": {"v": 0},
            "g": {"v": -0.0},
            "h": {"v": False},
            "i": {"v": [1]},
        },
        [
            ({"v": 1}, "ab"),
            ({"v": 1.0}, "ab"),
            ({"v": True}, "c"),
            ({"v": "1"}, "d"),
            ({"v": 0}, "fg"),
            ({"v": -0.0}, "fg"),
            ({"v": False}, "h"),
            ({"v": {"$gte": 1}}, "abe"),
            ({"v": {"$gt": 0, "$lt": 2}}, "ab"),
            ({"v": {"$lt": True}}, ""),
            ({"v": {"$in": [1, 0]}}, "abfg"),
            ({"v": [1.0]}, "i"),
        ],
    ),
    "exact numbers": Cases(
        {
            "a": {"v": BIG},
            "b": {"v": BIG + 1},
            "c": {"v": float(BIG)},
            "d": {"v": 0.1},
            "e": {"v": 10**400},
            "f": {"v": -(10**25)},
            "g": {"v": 1e308},
            "h": {"v": 5e-324},
            "i": {"v": 2**64},
            "j": {"v": 2**64 + 1},
        },
        [
            ({"v": BIG}, "ac"),
            ({"v": BIG + 1}, "b"),
            ({"v": {"$gt": BIG}}, "begij"),
            ({"v": {"$gt": float(BIG), "$lt": 2**64}}, "b"),
            ({"v": 0.1}, "d"),
            ({"v": 10**400}, "e"),
            ({"v": {"$gt": 1e308}}, "e"),
            ({"v": {"$lt": -(10**24)}}, "f"),
            ({"v": {"$gt": 0, "$lt": 1e-300}}, "h"),
            ({"v": {"$lte": 5e-324}}, "fh"),
            ({"v": 2**64 + 1}, "j"),
            ({"v": 2.0**64}, "i"),
            ({"v": {"$in": [BIG + 1, 2**64]}}, "bi"),
        ],
    ),
    "order": Cases(
        {
            "a": {"v": "a"},
            "b": {"v": "B"},
            "c": {"v": "\uffff"},
            "d": {"v": "\U00010000"},
            "e": {"v": 5},
            "f": {"v": None},
            "g": {"v": ["z"]},
            "h": {"v": {"z": 1}},
            "i": {},
            "j": {"v": ""},
            "k": {"v": "a\0b"},
            "l": {"v": True},
        },
        [
            ({"v": {"$gt": "a"}}, "cdk"),
            ({"v": {"$gte": "a"}}, "acdk"),
            ({"v": {"$lt": "a"}}, "bj"),
            ({"v": {"$lte": "B"}}, "bj"),
            ({"v": {"$gt": "\uffff"}}, "d"),
            ({"v": {"$gt": 4}}, "e"),
            ({"v": {"$lt": 6}}, "e"),
            ({"v": {"$lt": "zz"}}, "abjk"),
            ({"v": {"$gte": None}}, ""),
            ({"v": {"$gt": ["a"]}}, ""),
            ({"v": {"$lte": {"z": 1}}}, ""),
            ({"v": "a"}, "a"),
            ({"v": "a\0b"}, "k"),
        ],
    ),
    "missing and null": Cases(
        {
            "a": {"v": None},
            "b": {},
            "c": {"v": 1},
            "d": {"v": {}},
            "e": {"v": False},
            "f": {"other": {"v": None}},
        },
        [
            ({"v": None}, "a"),
            ({"v": {"$exists": True}}, "acde"),
            ({"v": {"$exists": False}}, "bf"),
            ({"v": {"$ne": None}}, "bcdef"),
            ({"v": {"$ne": 1}}, "abdef"),
            ({"v": {"$eq": None}}, "a"),
            ({"v": {"$in": [None, 1]}}, "ac"),
            ({"v": {"$in": []}}, ""),
            ({"v.x": {"$ne": 1}}, "abcdef"),
            ({"v.x": None}, ""),
            ({"v": False}, "e"),
            ({"v": {"$ne": False, "$exists": True}}, "acd"),
        ],
    ),
    "objects": Cases(
        {
            "a": {"v": {"x": 1, "y": 2}},
            "b": {"v": {"y": 2.0, "x": 1}},
            "c": {"v": {"x": 1}},
            "d": {"v": {}},
            "e": {"v": {"$gt": 1}},
            "f": {"v": {"$gt": 1, "x": 1}},
            "g": {"v": [{"y": 2, "x": 1}]},
        },
        [
            ({"v": {"x": 1, "y": 2}}, "ab"),
            ({"v": {"x": 1}}, "c"),
            ({"v": {}}, "d"),
            ({"v": {"$eq": {"$gt": 1}}}, "e"),
            ({"v": {"$gt": 1, "x": 1}}, "f"),
            ({"v": [{"x": 1, "y": 2}]}, "g"),
            ({"v": {"$ne": {"y": 2, "x": 1}}}, "cdefg"),
            ({"v.$gt": 1}, "ef"),
        ],
    ),
    "unusual keys": Cases(
        {
            "a": {"": 1},
            "b": {"a.b": 1},
            "c": {"a/b": 1},
            "d": {"a~b": 1},
            "e": {"$set": 1},
            "f": {"_id": 1},
            "g": {"a\0b": 1},
            "h": {"'; DROP": 1},
            "i": {'"q"': 1},
            "j": {"\U0001f600": 1},
            "k": {"": {"": 2}},
            "l": {"%": 1, "*": 1},
            "m": {"[0]": 1},
            "n": {"/a": 1},
        },
        [
            ({"": 1}, "a"),
            ({"/": 1}, "a"),
            ({"/a.b": 1}, "b"),
            ({"a.b": 1}, ""),
            ({"/a~1b": 1}, "c"),
            ({"a/b": 1}, "c"),
            ({"/a~0b": 1}, "d"),
            ({"a~b": 1}, "d"),
            ({"$set": 1}, "e"),
            ({"_id": 1}, "f"),
            ({"a\0b": 1}, "g"),
            ({"'; DROP": 1}, "h"),
            ({'"q"': 1}, "i"),
            ({"\U0001f600": 1}, "j"),
            ({".": 2}, "k"),
            ({"//": 2}, "k"),
            ({"%": 1}, "l"),
            ({"*": 1}, "l"),
            ({"[0]": 1}, "m"),
            ({"/~1a": 1}, "n"),
        ],
    ),
    "text": Cases(
        {
            "a": {"v": "caf\u00e9"},
            "b": {"v": "cafe\u0301"},
            "c": {"v": "CAF\u00c9"},
            "d": {"v": "x" * 5_000},
            "e": {"v": "x" * 5_000 + "y"},
            "f": {"v": "100%"},
            "g": {"v": "100x"},
            "h": {"v": "\U0001f600"},
            "i": {"v": "back\\slash \"quoted\" 'single' \n"},
            "j": {"v": "trailing "},
            "k": {"v": "trailing"},
        },
        [
            ({"v": "caf\u00e9"}, "a"),
            ({"v": "cafe\u0301"}, "b"),
            ({"v": "x" * 5_000}, "d"),
            ({"v": {"$gt": "x" * 5_000}}, "eh"),
            ({"v": "100%"}, "f"),
            ({"v": "\U0001f600"}, "h"),
            ({"v": "back\\slash \"quoted\" 'single' \n"}, "i"),
            ({"v": "trailing"}, "k"),
        ],
    ),
}

REFUSED: dict[str, Any] = {
    "unknown operator": {"v": {"$regex": "x"}},
    "operator of a misspelt name": {"v": {"$GT": 1}},
    "one of two unknown": {"v": {"$gt": 1, "$near": 1}},
    "exists of a number": {"v": {"$exists": 1}},
    "in of text": {"v": {"$in": "abc"}},
    "broken pointer": {"/a~2b": 1},
    "no mapping": [("v", 1)],
    "path that is no text": {1: 1},
    "value that is no JSON": {"v": {1, 2}},
    "NaN": {"v": {"$gt": float("nan")}},
}


class WhereClause:
    """Conditions on payloads."""

    @clause(WHERE, HISTORY, cases=CASES)
    async def test_where_lets_through_what_it_should(self, place: Place, case: Cases) -> None:
        """where= maps paths to values or operators, and lets a payload through if all hold; see the contract's rules.

        Look at: what the store discards by itself. It may only discard sure misses; core's predicate decides the rest.
        """
        agent = place.name("ann")
        for label, payload in case.payloads.items():
            await place.storage.store_interaction(agent, {**payload, "label": label})
        wrong = []
        for where, expected in case.expected:
            found = "".join([one.data["label"] for one in await place.log(agent, where=where)])
            back = "".join([one.data["label"] for one in await place.log(agent, where=where, reverse=True)])
            count = await place.storage.count_interactions(agent, where=where)
            if (found, back, count) != (expected, expected[::-1], len(expected)):
                wrong.append(
                    f"{where!r:.120}: expected {expected!r}, got {found!r}, reverse {back!r}, count {count}"
                )
        assert not wrong, "\n".join(wrong)

    @clause(WHERE, HISTORY, cases=REFUSED)
    async def test_a_where_that_means_nothing_is_refused(self, place: Place, case: Any) -> None:
        """An unknown operator, or a where= that is none, raises ValueError, in iter_ and count_interactions alike.

        Look at: whether where= is compiled before anything is read.
        """
        agent = place.name("ann")
        for _ in range(2):
            with pytest.raises(ValueError, match=r"\S"):
                await collect(place.storage.iter_interactions(agent, where=case))
            with pytest.raises(ValueError, match=r"\S"):
                await place.storage.count_interactions(agent, where=case)
            await place.fill(agent, 1)

    @clause(WHERE, HISTORY)
    async def test_limit_and_count_come_after_where(self, place: Place) -> None:
        """limit counts what passes the condition, in reading order, over any number of pages; a count counts all of it.

        Look at: a LIMIT in the query to the store, applied before the predicate.
        """
        agent, count = place.name("ann"), 1_400
        payloads = [{"n": n, "rare": n % 500 == 3} for n in range(1, count + 1)]
        for start in range(0, count, 700):
            if place.has(Capability.BATCH_APPEND):
                await place.storage.store_interactions(agent, payloads[start : start + 700])
            else:
                for payload in payloads[start : start + 700]:
                    await place.storage.store_interaction(agent, payload)
        rare = [3, 503, 1003]
        where = {"rare": True}
        assert [one.sequence for one in await place.log(agent, where=where)] == rare
        assert [one.sequence for one in await place.log(agent, where=where, limit=2)] == rare[:2]
        assert [one.sequence for one in await place.log(agent, where=where, limit=2, reverse=True)] == [
            1003,
            503,
        ]
        assert [one.sequence for one in await place.log(agent, where=where, after=3, before=1003)] == [503]
        assert await place.log(agent, where=where, limit=0) == []
        assert await place.storage.count_interactions(agent, where=where) == 3
        assert await place.storage.count_interactions(agent, where=where, after=3) == 2

    @clause(WHERE, HISTORY)
    async def test_where_sees_every_payload(self, place: Place) -> None:
        """One payload that a store's own query language cannot read (NUL, huge ints, deep nesting) hides no other.

        Look at: queries that fail as a whole for one row.
        """
        agent = place.name("ann")
        deep: dict[str, Any] = {"v": 1}
        for _ in range(90):
            deep = {"d": deep}
        odd: list[dict[str, Any]] = [
            {"v": "a\0b"}, {"v\0": 1}, {"v": 10**4000}, {"v": 1e308}, {"v": -0.0}, {"v": "\U0001f600"}, deep,
            {"v": {"": {"": []}}}, {"v": "x" * 100_000},
        ]  # fmt: skip
        for payload in odd:
            await place.storage.store_interaction(agent, payload)
            await place.storage.store_interaction(agent, {"v": "plain"})
        assert len(await place.log(agent, where={"v": "plain"})) == len(odd)
        assert len(await place.log(agent, where={"v": {"$ne": "plain"}})) == len(odd)
        path = ".".join(["d"] * 90) + ".v"
        assert [one.data for one in await place.log(agent, where={path: 1})] == [deep]
