"""Names: exact on every backend; and lists of names, in code-point order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from oacp_storage_conformance.calls import ALL_CALLS, WHEN, Call
from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place
from oacp_storage_core import Capability, Interaction, InvalidKeyError, Storage

NAMES, ORDER = ClauseName.NAMES, ClauseName.ORDER

EXACT: dict[str, list[str]] = {
    "case": ["bob", "Bob", "BOB", "\u00df", "ss", "SS", "\u0130", "i", "I", "\u0131"],
    "normal forms": [
        "caf\u00e9",
        "cafe\u0301",
        "\u212b",
        "\u00c5",
        "A\u030a",
        "\ufb01",
        "fi",
        "\u2126",
        "\u03a9",
    ],
    "white space": ["a", " a", "a ", "a\t", "a\n", "\u00a0a", "a.", "a..", "\ufeffa", "a\u200b", " "],
    "paths": [".", "..", "/", "a/b", "a\\b", "../a", "a/../b", "~", "C:", "a:b", "//", "/a"],
    "devices": ["CON", "con", "NUL", "nul.json", "COM1", "aux", "lpt1.txt"],
    "patterns": ["a%", "a_", "ab", "a*", "a?", "[ab]", "a^", "%", "_", "*", "?", "a\\%"],
    "separators": ["a:b", "a:b:c", "a", "b", "a|b", "a;b", "a,b", "a=b", "a&b", "a#b", "{a}", "{a}b", "a{}"],
    "quotes": ["'", '"', "`", "''", "a'; DROP TABLE agents; --", "$a", "${a}", "$set", "_id", "__proto__"],
    "escapes": [
        "%41",
        "A",
        "%2F",
        "a+b",
        "a b",
        "a%20b",
        "\\x41",
        "\\u0041",
        "_41",
        "&amp;",
        "\x01",
        "\x1f",
        "\x7f",
    ],
    "astral": ["\U0001f600", "\U0001f601", "\U0010ffff", "\uffff", "\ufffd", "\U00010000", "a\U0001f600"],
    "long": ["x" * 512, "x" * 511, "x" * 511 + "y", "\u00e9" * 256, "\U0001f600" * 128, "X" * 512, "." * 512],
    "reserved": [
        "default",
        "None",
        "null",
        "0",
        "00",
        "1",
        "1.0",
        "-1",
        "true",
        "all",
        "index",
        "README",
        "-",
    ],
}

INVALID: dict[str, Any] = {
    "empty": "",
    "NUL": "\0",
    "NUL inside": "a\0b",
    "lone surrogate": "a\ud800",
    "513 bytes": "x" * 513,
    "514 bytes of 257 characters": "\u00e9" * 257,
    "516 bytes of 129 characters": "\U0001f600" * 129,
    "bytes": b"ann",
    "int": 1,
    "tuple": ("ann",),
}

UNSORTED = [
    "b",
    "a",
    "B",
    "_",
    "a b",
    "ab",
    "\u00e9",
    "e\u0301",
    "z",
    "\uffff",
    "\U00010000",
    "\U0001f600",
    "10",
    "9",
    "Z",
    "a/",
]


class Listing(NamedTuple):
    """One kind of names that can be listed: how a name comes to be, and how the names are listed."""

    subject: Capability
    make: Callable[[Storage, str, str], Awaitable[Any]]
    names: Callable[..., Awaitable[list[str]]]

    @property
    def needs(self) -> tuple[Capability, ...]:
        """The capability that lists."""
        return (self.subject,)


async def _agents(storage: Storage, _agent: str, **query: Any) -> list[str]:
    return await storage.list_agents(**query)


async def _learning(storage: Storage, agent: str, **query: Any) -> list[str]:
    return [document.key for document in await storage.list_learning_data(agent, **query)]


async def _system(storage: Storage, _agent: str, **query: Any) -> list[str]:
    return [document.key for document in await storage.list_system_state(**query)]


LISTINGS = {
    "list_agents": Listing(Capability.AGENTS, lambda s, _agent, name: s.store_interaction(name, {}), _agents),
    "list_learning_data": Listing(
        Capability.LEARNING_DATA,
        lambda s, agent, name: s.store_learning_data(agent, name, {"of": name}),
        _learning,
    ),
    "list_system_state": Listing(
        Capability.SYSTEM_STATE, lambda s, _agent, name: s.store_system_state(name, {"of": name}), _system
    ),
}


class NamesClause:
    """Names of agents, keys and interactions."""

    @clause(NAMES, cases=EXACT)
    async def test_names_of_agents_are_exact(self, place: Place, case: list[str]) -> None:
        """An agent_id is any text of 1 to 512 UTF-8 bytes without NUL, exact and case-sensitive, after a restart too.

        Look at: file names, collations, patterns, separators in keys, and everything that folds, trims or normalises.
        """
        names = list(dict.fromkeys(place.name(label) for label in case))
        for name in names:
            await place.storage.store_interaction(name, {"of": name})
            await place.storage.store_agent_state(name, {"state of": name})
        await place.reopen()
        for name in names:
            assert await place.payloads(name) == [{"of": name}]
            assert await place.storage.get_agent_state(name) == {"state of": name}
        if place.has(Capability.AGENTS):
            for name in names:
                assert name in await place.storage.list_agents(prefix=name)

    @clause(NAMES, Capability.LEARNING_DATA, cases=EXACT)
    async def test_keys_of_learning_data_are_exact(self, place: Place, case: list[str]) -> None:
        """A key of learning data is any text of 1 to 512 UTF-8 bytes without NUL, exact and case-sensitive.

        Look at: file names, collations, patterns, and how agent and key are joined: ("a", "b:c") is not ("a:b", "c").
        """
        agents = list(dict.fromkeys(place.name(label) for label in case[:4]))
        for agent in agents:
            for key in case:
                await place.storage.store_learning_data(agent, key, {"of": agent, "key": key})
        await place.reopen()
        for agent in agents:
            for key in case:
                assert await place.storage.get_learning_data(agent, key) == {"of": agent, "key": key}
            listed = [document.key for document in await place.storage.list_learning_data(agent)]
            assert listed == sorted(case, key=_code_points)

    @clause(NAMES, Capability.SYSTEM_STATE, cases=EXACT)
    async def test_keys_of_system_state_are_exact(self, place: Place, case: list[str]) -> None:
        """A key of system state is any text of 1 to 512 UTF-8 bytes without NUL, exact and case-sensitive.

        Look at: file names, collations, patterns, and everything that folds, trims or normalises.
        """
        keys = list(dict.fromkeys(place.name(label) for label in case))
        for key in keys:
            await place.storage.store_system_state(key, {"key": key})
        await place.reopen()
        for key in keys:
            document = await place.storage.get_system_state_document(key)
            assert document is not None
            assert (document.key, document.data, document.version) == (key, {"key": key}, 1)

    @clause(NAMES, Capability.IDEMPOTENT_APPEND, Capability.HISTORY, cases=EXACT)
    async def test_interaction_ids_are_exact(self, place: Place, case: list[str]) -> None:
        """An interaction id is any text of 1 to 512 UTF-8 bytes without NUL, exact and case-sensitive.

        Look at: collations of the id's column, and columns of another type (UUID).
        """
        agent = place.name("ann")
        for ident in case:
            assert await place.storage.store_interaction(agent, {"id": ident}, interaction_id=ident) == ident
        await place.reopen()
        for ident in case:
            found = await place.storage.get_interaction(agent, ident)
            assert found is not None
            assert (found.id, found.data) == (ident, {"id": ident})
        assert [one.id for one in await place.log(agent)] == case

    @clause(NAMES)
    async def test_kinds_of_data_share_no_names(self, place: Place) -> None:
        """An agent, its learning data and system state may all bear one name: none of them is another.

        Look at: one table or one folder of documents for all kinds.
        """
        name = place.name("same")
        await place.storage.store_interaction(name, {"kind": "interaction"})
        await place.storage.store_agent_state(name, {"kind": "state"})
        if place.has(Capability.LEARNING_DATA):
            await place.storage.store_learning_data(name, name, {"kind": "learning"})
        if place.has(Capability.SYSTEM_STATE):
            await place.storage.store_system_state(name, {"kind": "system"})
        other = await place.second()
        assert await place.payloads(name) == [{"kind": "interaction"}]
        assert await other.get_agent_state(name) == {"kind": "state"}
        if place.has(Capability.LEARNING_DATA):
            assert await other.get_learning_data(name, name) == {"kind": "learning"}
        if place.has(Capability.SYSTEM_STATE):
            assert await other.get_system_state(name) == {"kind": "system"}

    @clause(NAMES, cases={name: call for name, call in ALL_CALLS.items() if call.names_agent})
    async def test_invalid_agent_ids_are_refused(self, place: Place, case: Call) -> None:
        """Any other agent_id raises InvalidKeyError: empty, NUL, lone surrogates, over 512 bytes, no text at all.

        Look at: whether every method checks its names before it does anything.
        """
        for what, name in INVALID.items():
            with pytest.raises(InvalidKeyError, match=r"\S"):
                await soon(case(place.storage, name), f"the refusal ({what})")
        if place.has(Capability.AGENTS):
            assert await place.storage.list_agents(prefix=place.name("")) == []

    @clause(NAMES, cases={name: call for name, call in ALL_CALLS.items() if call.names_key})
    async def test_invalid_keys_are_refused(self, place: Place, case: Call) -> None:
        """Any other key or interaction id raises InvalidKeyError, and the call writes nothing.

        Look at: whether every method checks its names before it does anything.
        """
        agent = place.name("ann")
        for what, key in INVALID.items():
            with pytest.raises(InvalidKeyError, match=r"\S"):
                await soon(case(place.storage, agent, key), f"the refusal ({what})")
        assert await place.payloads(agent) == []

    @clause(NAMES, Capability.TURN, Capability.BATCH_APPEND)
    async def test_invalid_names_within_a_call_are_refused(self, place: Place) -> None:
        """Keys of a turn's learning data and ids of records are names too: InvalidKeyError, and nothing is written.

        Look at: names that do not come as arguments of their own.
        """
        agent = place.name("ann")
        for what, name in INVALID.items():
            record = Interaction(agent, name, 0, WHEN, {"n": 1})
            with pytest.raises(InvalidKeyError, match=r"\S"):
                await soon(place.storage.record_turn(agent, state={}, learning={"ok": {}, name: {}}), what)
            with pytest.raises(InvalidKeyError, match=r"\S"):
                await soon(place.storage.record_turn(agent, interactions=[{"n": 0}, record]), what)
            with pytest.raises(InvalidKeyError, match=r"\S"):
                await soon(place.storage.store_interactions(agent, [{"n": 0}, record]), what)
        assert await place.payloads(agent) == []
        assert await place.storage.get_agent_state(agent) is None

    @clause(ORDER, cases=LISTINGS)
    async def test_lists_are_in_code_point_order(self, place: Place, case: Listing) -> None:
        """Lists of names are in code-point order, which is that of UTF-8 bytes: U+FFFF comes before U+10000.

        Look at: collations, and stores that compare UTF-16.
        """
        agent, base = place.name("of"), place.name("x")
        names = [base + label for label in UNSORTED]
        for name in names:
            await case.make(place.storage, agent, name)
        expected = sorted(names, key=_code_points)
        for storage in (place.storage, await place.second()):
            assert await case.names(storage, agent, prefix=base) == expected

    @clause(ORDER, cases=LISTINGS)
    async def test_lists_are_read_by_after_and_limit(self, place: Place, case: Listing) -> None:
        """`after` of a list is exclusive and need not exist; `limit` counts after it; 100 unless told.

        Look at: > against >=, and limits applied before prefix or after.
        """
        agent, base = place.name("of"), place.name("x")
        names = [f"{base}{n:03}" for n in range(105)]
        for name in reversed(names):
            await case.make(place.storage, agent, name)

        async def listed(**query: Any) -> list[str]:
            return await case.names(place.storage, agent, prefix=base, **query)

        assert await listed() == names[:100]
        assert await listed(limit=1000) == names
        assert await listed(limit=3) == names[:3]
        assert await listed(limit=0) == []
        assert await listed(after=names[1], limit=3) == names[2:5]
        assert await listed(after=names[1] + "x", limit=3) == names[2:5]
        assert await listed(after=names[-1]) == []
        assert await listed(after=names[-2]) == names[-1:]
        assert await listed(after=base, limit=2) == names[:2]
        assert await listed(after="\x01", limit=2) == names[:2]
        assert await listed(after=base + "\U0010ffff") == []
        assert await case.names(place.storage, agent, prefix=base + "00", after=base + "003") == names[4:10]
        assert await case.names(place.storage, agent, prefix=base + "00", limit=2) == names[:2]
        assert await case.names(place.storage, agent, prefix=base + "none") == []

    @clause(ORDER, cases=LISTINGS)
    async def test_a_prefix_is_text_and_no_pattern(self, place: Place, case: Listing) -> None:
        """prefix is text, compared exactly: %, _, * and ? stand for themselves, and case counts.

        Look at: LIKE, KEYS, glob and regular expressions, and upper bounds made by raising the last character.
        """
        agent, base = place.name("of"), place.name("x")
        labels = [
            "a",
            "ab",
            "a%",
            "a%b",
            "a_",
            "a_b",
            "a*",
            "a?",
            "A",
            "a\uffff",
            "a\U0010ffff",
            "a\U0010ffffb",
            "b",
            "[a]",
            ".",
        ]
        for label in labels:
            await case.make(place.storage, agent, base + label)
        for prefix in ("a", "a%", "a_", "a*", "a?", "A", "a\U0010ffff", "[a]", ".", "", "a\uffff"):
            expected = sorted(
                (base + label for label in labels if label.startswith(prefix)), key=_code_points
            )
            assert await case.names(place.storage, agent, prefix=base + prefix) == expected, (
                f"prefix {prefix!r}"
            )

    @clause(ORDER, cases=LISTINGS)
    async def test_a_negative_limit_of_a_list_is_refused(self, place: Place, case: Listing) -> None:
        """A negative limit of a list raises ValueError.

        Look at: the check of limit; a database may take a negative limit for none.
        """
        with pytest.raises(ValueError, match=r"\S"):
            await case.names(place.storage, place.name("of"), limit=-1)


def _code_points(name: str) -> bytes:
    return name.encode()
