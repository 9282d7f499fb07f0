"""Scripts and commands for a bucket, wherever it is served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from oacp_storage_core import StorageError
from oacp_storage_engine import NotApplied, Unknown
from oacp_storage_redis.connections import Node
from oacp_storage_redis.errors import MOVED, answered, code_of
from oacp_storage_redis.scripts import Script, evalsha, load, packed
from oacp_storage_redis.topology import Topology


class Calls:
    """Finds the node, sends, and raises what the answer means.

    With ``min_replicas``, a write is answered only when so many replicas have it.
    """

    def __init__(self, topology: Topology, *, min_replicas: int, response_timeout: float) -> None:
        self._topology = topology
        self._min_replicas = min_replicas
        self._response_timeout = response_timeout

    async def write(
        self,
        bucket: int,
        script: Script,
        keys: Sequence[bytes],
        arguments: Iterable[bytes],
        *,
        deadline: float,
        urgent: bool = False,
    ) -> Any:
        """Run a script that writes, once; raises ``Unknown`` when it may have run, or too few replicas have it."""
        commands = evalsha(script, keys, arguments) + self._wait(deadline)
        replies = 2 if self._min_replicas else 1
        answer, *replicas = await self._run(bucket, script, commands, replies, deadline, urgent=urgent)
        if isinstance(answer, Exception):
            raise self._refusal(answer)
        for reached in replicas:
            if isinstance(reached, Exception):
                raise Unknown(f"WAIT was refused: {reached}")
            if reached < self._min_replicas:
                raise Unknown(f"{reached} replicas have it, and min_replicas asks for {self._min_replicas}")
        return answer

    async def read(
        self, bucket: int, script: Script, keys: Sequence[bytes], arguments: Iterable[bytes]
    ) -> Any:
        """Run a script that only reads."""
        (answer,) = await self._run(bucket, script, evalsha(script, keys, arguments), 1, None)
        if isinstance(answer, Exception):
            raise self._refusal(answer)
        return answer

    async def command(self, bucket: int, *words: bytes) -> Any:
        """Run one command that only reads."""
        (answer,) = await self.commands([(bucket, words)])
        return answer

    async def commands(self, wanted: Sequence[tuple[int, Sequence[bytes]]]) -> list[Any]:
        """Run commands that only read, in one round trip to each node; answers in the order of the commands."""
        of_node: dict[Node, list[int]] = {}
        for i, (bucket, _) in enumerate(wanted):
            of_node.setdefault(await self._topology.node_of(bucket), []).append(i)
        found: dict[int, Any] = {}
        for node, positions in of_node.items():
            sent = b"".join([packed(wanted[i][1]) for i in positions])
            found.update(zip(positions, await self._exchange(node, sent, len(positions)), strict=True))
        for answer in found.values():
            if isinstance(answer, Exception):
                raise self._refusal(answer)
        return [found[i] for i in range(len(wanted))]

    async def on_node(self, node: Node, commands: bytes, replies: int) -> list[Any]:
        """Send packed commands to one node; errors of the server are among the replies."""
        return await self._exchange(node, commands, replies)

    async def _run(
        self,
        bucket: int,
        script: Script,
        commands: bytes,
        replies: int,
        deadline: float | None,
        *,
        urgent: bool = False,
    ) -> list[Any]:
        node = await self._find(bucket)
        found = await self._exchange(node, commands, replies, deadline, urgent=urgent)
        if isinstance(found[0], Exception) and code_of(found[0]) == "NOSCRIPT":
            await self._exchange(node, load(script), 1, deadline, urgent=urgent)
            found = await self._exchange(node, commands, replies, deadline, urgent=urgent)
        return found

    def _wait(self, deadline: float) -> bytes:
        """The command that waits for replicas, in half of the time there is, so that its answer comes in time."""
        if not self._min_replicas:
            return b""
        left = min(deadline - asyncio.get_running_loop().time(), self._response_timeout)
        milliseconds = max(int(left * 500), 1)  # 0 would be without end
        return packed([b"WAIT", b"%d" % self._min_replicas, b"%d" % milliseconds])

    async def _find(self, bucket: int) -> Node:
        try:
            return await self._topology.node_of(bucket)
        except Unknown as exc:  # while looking for the node, which is no write
            raise NotApplied(str(exc)) from exc

    async def _exchange(
        self,
        node: Node,
        commands: bytes,
        replies: int,
        deadline: float | None = None,
        *,
        urgent: bool = False,
    ) -> list[Any]:
        try:
            return await node.exchange(commands, replies, deadline=deadline, urgent=urgent)
        except (NotApplied, Unknown):
            self._topology.forget()
            raise

    def _refusal(self, answer: Exception) -> StorageError:
        if code_of(answer) in MOVED:
            self._topology.forget()
        error = answered(answer)
        error.__cause__ = answer
        return error
