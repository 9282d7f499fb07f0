"""Sizes: what one call takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oacp_storage_conformance.clause import ClauseName, clause
from oacp_storage_conformance.place import Place
from oacp_storage_core import Capability, PayloadTooLargeError

SIZES = ClauseName.SIZES
BATCH, TURN = Capability.BATCH_APPEND, Capability.TURN
MEBIBYTE = 1024 * 1024
MOST = 20_000


class SizesClause:
    """The limits of ``store_interactions`` and ``record_turn``."""

    @clause(SIZES, BATCH)
    async def test_a_call_takes_20000_interactions(self, place: Place) -> None:
        """One call takes at most 20,000 interactions: with one more, PayloadTooLargeError, and nothing is stored.

        Look at: the limit, and statements or scripts that take fewer parameters than a batch may have.
        """
        agent, other = place.name("ann"), await place.second()
        with pytest.raises(PayloadTooLargeError):
            await place.storage.store_interactions(agent, [{}] * (MOST + 1))
        assert await other.get_interactions(agent) == []
        ids = await place.storage.store_interactions(agent, [{"n": n} for n in range(MOST)])
        assert len(set(ids)) == MOST
        assert await other.get_interactions(agent, MOST + 1) == [{"n": n} for n in range(MOST)]

    @clause(SIZES, TURN)
    async def test_a_turn_takes_20000_interactions(self, place: Place) -> None:
        """A turn of more than 20,000 interactions raises PayloadTooLargeError, and nothing of it is stored.

        Look at: whether turns pass the same checks as batches.
        """
        agent = place.name("ann")
        with pytest.raises(PayloadTooLargeError):
            await place.storage.record_turn(agent, interactions=[{}] * (MOST + 1), state={})
        assert await place.payloads(agent) == []
        assert await place.storage.get_agent_state(agent) is None

    @clause(SIZES, BATCH)
    async def test_a_call_takes_32_mib(self, place: Place) -> None:
        """One call takes at most 32 MiB encoded: with one byte more, PayloadTooLargeError, and nothing is stored.

        Look at: the sum over a batch, and limits of the store for one transaction or message.
        """
        agent, other = place.name("ann"), await place.second()
        batch = [_payload(11 * MEBIBYTE), _payload(11 * MEBIBYTE), _payload(10 * MEBIBYTE)]
        with pytest.raises(PayloadTooLargeError):
            await place.storage.store_interactions(agent, [*batch[:2], _payload(10 * MEBIBYTE + 1)])
        assert await other.get_interactions(agent) == []
        await place.storage.store_interactions(agent, batch)
        assert await other.get_interactions(agent) == batch

    @clause(SIZES, TURN, Capability.LEARNING_DATA)
    async def test_a_turn_takes_32_mib(self, place: Place) -> None:
        """The 32 MiB of a turn are those of its interactions, its state and its learning data together.

        Look at: what the sum of a turn counts.
        """
        agent = place.name("ann")
        part = _payload(8 * MEBIBYTE)
        too_much: dict[str, Any] = {
            "interactions": [part], "state": part, "learning": {"a": part, "b": _payload(8 * MEBIBYTE + 1)}
        }  # fmt: skip
        with pytest.raises(PayloadTooLargeError):
            await place.storage.record_turn(agent, **too_much)
        assert await place.payloads(agent) == []
        assert await place.storage.get_agent_state(agent) is None
        await place.storage.record_turn(agent, **{**too_much, "learning": {"a": part, "b": part}})
        other = await place.second()
        assert await other.get_interactions(agent) == [part]
        assert await other.get_agent_state(agent) == part
        assert await other.get_learning_data(agent, "b") == part

    @clause(SIZES)
    async def test_many_large_calls_at_once(self, place: Place) -> None:
        """Calls that together exceed what one group commit takes are all stored, in call order.

        Look at: how calls that wait together are cut into groups.
        """
        agent = place.name("ann")
        payloads = [{"n": n, "v": "x" * (MEBIBYTE * (1 + n % 3))} for n in range(12)]
        await asyncio.gather(*(place.storage.store_interaction(agent, payload) for payload in payloads))
        assert await place.payloads(agent) == payloads


def _payload(size: int) -> dict[str, Any]:
    """A payload of exactly ``size`` bytes of JSON."""
    return {"v": "x" * (size - len('{"v":""}'))}
