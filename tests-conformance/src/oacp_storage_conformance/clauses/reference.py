"""Random sequences: what any backend does is what ``MemoryStorage`` does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.place import Place
from oacp_storage_conformance.setting import Setting
from oacp_storage_core import Capability, compile_where

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

Check = Callable[[Place, T, str], Awaitable[None]]


class ReferenceClause:
    """Random tests. Each runs Hypothesis inside, in an event loop of its own; the seed stands in every failure."""

    @clause(ClauseName.REFERENCE)
    def test_random_calls_are_answered_like_the_reference(self, setting: Setting) -> None:
        """Any sequence of calls is answered as MemoryStorage, the executable specification, answers it.

        Look at: the last call of the falsifying example: it was shrunk, so the calls before it are all needed.
        """
        from oacp_storage_conformance.reference import compare
        from oacp_storage_conformance.strategies import scripts

        whole_place = setting.namespace is not None and Capability.AGENTS in setting.declared
        _try(setting, scripts(setting.declared, whole_place=whole_place), compare)

    @clause(ClauseName.PAYLOADS)
    def test_random_payloads_come_back_exactly(self, setting: Setting) -> None:
        """Any JSON object reads back equal, with the same types, key order kept.

        Look at: how the store encodes, and every layer that parses.
        """
        from hypothesis import strategies as st

        from oacp_storage_conformance.strategies import payloads

        async def check(place: Place, given: list[dict[str, Any]], base: str) -> None:
            agent = base + "ann"
            for payload in given:
                await place.storage.store_interaction(agent, payload)
                await place.storage.store_agent_state(agent, payload)
                assert repr(await (await place.second()).get_agent_state(agent)) == repr(payload)
            assert repr(await place.payloads(agent)) == repr(given)

        _try(setting, st.lists(payloads, min_size=1, max_size=6), check)

    @clause(ClauseName.NAMES)
    def test_random_names_are_kept_apart(self, setting: Setting) -> None:
        """Names are exact: whatever two names look like, they are one only if they are the same text.

        Look at: everything that folds, trims, normalises or escapes names.
        """
        from hypothesis import strategies as st

        from oacp_storage_conformance.strategies import names

        async def check(place: Place, given: list[str], base: str) -> None:
            variants = [
                form for name in given for form in (name, name.upper(), name.lower(), name + " ", name + ".")
            ]
            agents = list(dict.fromkeys(base + name for name in variants))
            for agent in agents:
                await place.storage.store_interaction(agent, {"of": agent})
            for agent in agents:
                assert await place.payloads(agent) == [{"of": agent}]
            if place.has(Capability.AGENTS):
                listed = await place.storage.list_agents(prefix=base, limit=1000)
                assert listed == sorted(agents, key=str.encode)
                for agent in agents:
                    await place.storage.delete_agent(agent)

        _try(setting, st.lists(names, min_size=1, max_size=3), check)

    @clause(ClauseName.WHERE, Capability.HISTORY)
    def test_random_conditions_are_decided_by_the_predicate(self, setting: Setting) -> None:
        """Whatever a store discards by itself, the result is that of the one predicate in core.

        Look at: conditions that are pushed down to the store's own query language.
        """
        from hypothesis import strategies as st

        from oacp_storage_conformance.strategies import small, wheres

        async def check(
            place: Place, given: tuple[list[dict[str, Any]], list[dict[str, Any]]], base: str
        ) -> None:
            agent = base + "ann"
            payloads, conditions = given
            for payload in payloads:
                await place.storage.store_interaction(agent, payload)
            for condition in conditions:
                predicate = compile_where(condition)
                assert predicate is not None
                expected = [n for n, payload in enumerate(payloads, start=1) if predicate(payload)]
                found = [one.sequence for one in await place.log(agent, where=condition)]
                assert found == expected, f"where={condition}"
                assert await place.storage.count_interactions(agent, where=condition) == len(expected)

        given = st.tuples(st.lists(small, min_size=1, max_size=8), st.lists(wheres, min_size=1, max_size=5))
        _try(setting, given, check)


def _try(setting: Setting, strategy: SearchStrategy[T], check: Check[T]) -> None:
    """Check the property for random values, at one place, under a name of its own for each value."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    with asyncio.Runner() as runner:
        opened = setting.open()
        place = runner.run(opened.__aenter__())
        count = 0

        @settings(
            database=None,
            deadline=None,
            derandomize=setting.derandomize,
            max_examples=setting.examples,
            phases=[Phase.generate, Phase.shrink],
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def holds(value: T) -> None:
            nonlocal count
            count += 1
            runner.run(_limited(check(place, value, place.name(f"{count}-"))))

        repeatable = holds if setting.derandomize else seed(setting.seed)(holds)
        try:
            repeatable()
        except Exception as exc:
            how = "derandomize" if setting.derandomize else f"seed={setting.seed}"
            exc.add_note(f"random sequences: repeat this one with --oacp-storage-{how}")
            raise
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _limited(check: Awaitable[None]) -> None:
    await soon(check, "the end of one random example")
