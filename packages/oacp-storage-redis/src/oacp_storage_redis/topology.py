"""Which server serves what: one server, the master that sentinels know, or the nodes of a cluster."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from redis import exceptions as driver
from redis.crc import key_slot

from oacp_storage_core import StorageConfigError, StorageError
from oacp_storage_engine import NotApplied
from oacp_storage_redis.address import Address, Host
from oacp_storage_redis.connections import Node
from oacp_storage_redis.errors import answered
from oacp_storage_redis.layout import BUCKETS, Layout
from oacp_storage_redis.scripts import packed

MakeNode = Callable[[str, Callable[[], Any]], Node]


class Topology(ABC):
    """Finds the node of a bucket. What it knows is looked up anew at the next use after ``forget``."""

    clustered = False

    def __init__(self, address: Address, make_node: MakeNode) -> None:
        self.address = address
        self._make_node = make_node
        self._nodes: dict[Host | None, Node] = {}
        self._known = False
        self._looking = asyncio.Lock()

    async def node_of(self, bucket: int) -> Node:
        """The node that serves a bucket now; raises ``NotApplied`` where none is known to."""
        await self._look_up()
        return self._serving(bucket)

    async def nodes(self) -> list[Node]:
        """Every node that serves something."""
        await self._look_up()
        return list(dict.fromkeys(self._serving(bucket) for bucket in range(BUCKETS)))

    def forget(self) -> None:
        """A server did not serve what it should, or is not there."""
        self._known = False

    async def close(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            await node.close()

    def abandon(self) -> None:
        """Drop all connections without awaiting anything."""
        for node in self._nodes.values():
            node.abandon()

    async def _look_up(self) -> None:
        if self._known:
            return
        async with self._looking:
            if not self._known:
                await self._find_out()
                self._known = True

    def _node(self, host: Host | None) -> Node:
        node = self._nodes.get(host)
        if node is None:
            name = f"{host[0]}:{host[1]}" if host is not None else self.address.path
            node = self._nodes[host] = self._make_node(name, self.address.connection(host))
        return node

    @abstractmethod
    async def _find_out(self) -> None: ...

    @abstractmethod
    def _serving(self, bucket: int) -> Node: ...


class OneServer(Topology):
    """One server, by host and port or by Unix socket."""

    async def _find_out(self) -> None:
        host = self.address.hosts[0] if self.address.hosts else None
        self._server = self._node(host)

    def _serving(self, bucket: int) -> Node:
        return self._server


class Sentinels(OneServer):
    """The master of a service, as the first sentinel that answers knows it."""

    async def _find_out(self) -> None:
        last: StorageError | None = None
        for host in self.address.hosts:
            sentinel = self._make_node(f"{host[0]}:{host[1]}", self.address.sentinel_connection(host))
            try:
                ask = packed([b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.address.service.encode()])
                (found,) = await sentinel.exchange(ask)
            except StorageError as exc:
                last = exc
                continue
            finally:
                await sentinel.close()
            if isinstance(found, Exception):
                last = answered(found)
            elif found is None:
                last = NotApplied(f"the sentinel at {sentinel.address} knows no {self.address.service!r}")
            else:
                self._server = self._node((found[0].decode(), int(found[1])))
                return
        raise NotApplied(f"no sentinel knows the master of {self.address.service!r}: {last}") from last


class Cluster(Topology):
    """The masters of a cluster, by the slots that they serve."""

    clustered = True

    def __init__(self, address: Address, make_node: MakeNode, layout: Layout) -> None:
        super().__init__(address, make_node)
        self._slots = [key_slot(tag) for tag in layout.tags]
        self._of_bucket: list[Node | None] = [None] * BUCKETS

    async def _find_out(self) -> None:
        last: StorageError | None = None
        for host in dict.fromkeys([*self._nodes, *self.address.hosts]):
            node = self._node(host)
            try:
                (found,) = await node.exchange(packed([b"CLUSTER", b"SLOTS"]))
                if isinstance(found, Exception):
                    raise _refused(found) from found
            except (NotApplied, StorageError) as exc:
                if isinstance(exc, StorageConfigError):
                    raise
                last = exc
                continue
            if found:
                await self._learn(found, node)
                return
            last = NotApplied("its nodes serve no slots")
        raise NotApplied(f"the cluster cannot be reached: {last}") from last

    def _serving(self, bucket: int) -> Node:
        node = self._of_bucket[bucket]
        if node is None:
            self.forget()
            raise NotApplied(f"no node of the cluster serves slot {self._slots[bucket]}")
        return node

    async def _learn(self, found: list[Any], asked: Node) -> None:
        """``found``: first slot, last slot, and the master (host, port, ...) of each range."""
        default = asked.address.rpartition(":")[0]
        of_slot: dict[int, Host] = {}
        for first, last, master, *_ in found:
            host = ((master[0] or b"").decode() or default, int(master[1]))
            of_slot.update(dict.fromkeys(range(first, last + 1), host))
        hosts = [of_slot.get(slot) for slot in self._slots]
        self._of_bucket = [None if host is None else self._node(host) for host in hosts]
        for gone in set(self._nodes) - set(of_slot.values()) - {(default, 0)}:
            if gone not in self.address.hosts:
                await self._nodes.pop(gone).close()


def _refused(exc: Exception) -> StorageError:
    if isinstance(exc, driver.ResponseError) and "cluster support disabled" in str(exc):
        return StorageConfigError(
            "this server is no cluster: write redis:// (or rediss://) instead of redis+cluster://"
        )
    return answered(exc)


def make_topology(address: Address, make_node: MakeNode, layout: Layout) -> Topology:
    """The topology of an address."""
    if address.kind == "cluster":
        return Cluster(address, make_node, layout)
    if address.kind == "sentinel":
        return Sentinels(address, make_node)
    return OneServer(address, make_node)
