"""What does not fit together in the store, beyond what reading every record shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from oacp_storage_core import Damage
from oacp_storage_redis.calls import Calls
from oacp_storage_redis.layout import BUCKETS, Layout, bucket_of
from oacp_storage_redis.names import names_in_order

_AGENTS = 500
_QUESTIONS = 6


async def damages(calls: Calls, layout: Layout) -> AsyncIterator[Damage]:
    """Agents, logs and documents whose keys disagree. Looked at twice, as others may write meanwhile."""
    for bucket in range(BUCKETS):
        tag = layout.tags[bucket]
        sizes = [(bucket, (b"ZCARD", tag + b":agents")), (bucket, (b"HLEN", tag + b":heads"))]
        if len(set(await calls.commands(sizes))) > 1 and len(set(await calls.commands(sizes))) > 1:
            yield Damage(
                "interaction", f"in bucket {bucket} the lists of agents and of their last sequences differ"
            )
    after: str | None = None
    while agents := await names_in_order(calls, layout, b":agents", prefix="", after=after, limit=_AGENTS):
        after = agents[-1]
        suspected = [agent for agent, faults in await _faults(calls, layout, agents) if faults]
        for agent, faults in await _faults(calls, layout, suspected):
            for fault in faults:
                yield Damage("interaction", fault, agent)


async def _faults(calls: Calls, layout: Layout, agents: Sequence[str]) -> list[tuple[str, list[str]]]:
    wanted: list[tuple[int, Sequence[bytes]]] = []
    for agent in agents:
        bucket, name = bucket_of(agent), agent.encode()
        tag = layout.tags[bucket]
        wanted += [
            (bucket, (b"HEXISTS", tag + b":heads", name)),
            (bucket, (b"XLEN", tag + b":log:" + name)),
            (bucket, (b"HLEN", tag + b":ids:" + name)),
            (bucket, (b"HLEN", tag + b":documents:" + name)),
            (bucket, (b"HEXISTS", tag + b":documents:" + name, b"t")),
            (bucket, (b"ZCARD", tag + b":keys:" + name)),
        ]
    answers = await calls.commands(wanted)
    return [
        (agent, list(_faults_of(*answers[i * _QUESTIONS : (i + 1) * _QUESTIONS])))
        for i, agent in enumerate(agents)
    ]


def _faults_of(known: Any, entries: int, ids: int, documents: int, states: int, keys: int) -> list[str]:
    faults = []
    if not known:
        faults.append("its last sequence is lost")
    if entries != ids:
        faults.append(f"its log has {entries} interactions, and its list of ids has {ids}")
    if documents != 2 * (states + keys):  # two fields each
        faults.append(
            f"its learning documents have {documents - 2 * states} fields, and its list of keys has {keys}"
        )
    return faults
