"""A second path into a Redis store: commands of its own, and the server processes."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import redis

from oacp_storage_conformance import Tamper
from oacp_storage_conformance.servers import RedisCluster, RedisServer
from oacp_storage_conformance.tamper import Part


def tag_of(namespace: str, name: str) -> str:
    return f"{{oacp:{namespace}:{zlib.crc32(name.encode()) % 256:02x}}}"


def flipped(text: bytes) -> bytes:
    """The text with one bit of its last letter or digit changed, so that JSON stays JSON."""
    for i in range(len(text) - 1, -1, -1):
        if chr(text[i]).isalnum():
            return text[:i] + bytes([text[i] ^ 1]) + text[i + 1 :]
    raise AssertionError(f"nothing to change in {text!r}")


class RedisTamper(Tamper):
    """Of one server, or of a cluster's nodes."""

    network = True

    def __init__(self, *servers: RedisServer) -> None:
        self._servers = servers

    def flip_interaction(self, agent_id: str, sequence: int, *, part: Part, namespace: str) -> None:
        log = f"{tag_of(namespace, agent_id)}:log:{agent_id}"
        field = {"body": b"body", "id": b"id", "time": b"at"}[part]
        with self._client() as client:
            entries: list[Any] = list(client.xrange(log))
            client.delete(log)
            for name, fields in entries:
                if name == b"0-%d" % sequence:
                    fields[field] = flipped(fields[field])
                client.xadd(log, fields, id=name)

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        self._flip(f"{tag_of(namespace, agent_id)}:documents:{agent_id}", "t")

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        self._flip(f"{tag_of(namespace, agent_id)}:documents:{agent_id}", f"l{key}")

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        self._flip(f"{tag_of(namespace, key)}:system", f"y{key}")

    def tear_tail(self, agent_id: str, *, namespace: str) -> None:
        """A power cut tears the server's append-only file in the middle of a script's last command."""
        (server,) = self._servers
        log = f"{tag_of(namespace, agent_id)}:log:{agent_id}".encode()
        server.process.kill()
        directory = Path(server.process.directory)
        (file,) = [*directory.glob("appendonlydir/*.incr.aof"), *directory.glob("appendonly.aof")]
        words = [b"XADD", log, b"0-7", b"id", b"torn", b"at", b"1", b"crc", b"1", b"body", b'{"torn": true}']
        command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        with file.open("ab") as stream:
            stream.write(b"*1\r\n$5\r\nMULTI\r\n" + command[: len(command) // 2])
            stream.flush()
            os.fsync(stream.fileno())
        server.start()

    def set_schema_version(self, version: int) -> None:
        """As an upgrade by another release leaves it: the mark of every bucket of every namespace."""
        with self._client() as client:
            namespaces = {key.split(b":")[1].decode() for key in client.scan_iter("{oacp:*", count=1000)}
            for namespace in namespaces:
                for bucket in range(256):
                    client.set(f"{{oacp:{namespace}:{bucket:02x}}}:schema", version)

    def cut_connections(self) -> None:
        for server in self._servers:
            with redis.Redis(port=server.port) as client:
                for kind in ("normal", "pubsub"):
                    client.client_kill_filter(_type=kind, skipme=True)

    def stop_server(self) -> None:
        for server in self._servers:
            server.process.kill()

    def start_server(self) -> None:
        for server in self._servers:
            server.start()

    def _client(self) -> Any:
        return redis.Redis(port=self._servers[0].port)

    def _flip(self, key: str, field: str) -> None:
        with self._client() as client:
            client.hset(key, field, flipped(client.hget(key, field)))


class RedisClusterTamper(RedisTamper):
    """Of a cluster's nodes."""

    def __init__(self, cluster: RedisCluster) -> None:
        super().__init__(*cluster.nodes)
        self._cluster = cluster

    def start_server(self) -> None:
        super().start_server()
        for node in self._servers:
            self._cluster.wait_until_whole(node)

    def tear_tail(self, agent_id: str, *, namespace: str) -> None:
        with self._client() as client:
            slot = client.keyslot(f"{tag_of(namespace, agent_id)}:log:{agent_id}")
            port = client.nodes_manager.get_node_from_slot(slot).port
        (server,) = [server for server in self._servers if server.port == port]
        RedisTamper(server).tear_tail(agent_id, namespace=namespace)
        self._cluster.wait_until_whole(server)

    def _client(self) -> Any:
        return redis.RedisCluster(host="127.0.0.1", port=self._servers[0].port)
