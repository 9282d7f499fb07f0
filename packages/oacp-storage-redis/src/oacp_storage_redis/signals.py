"""Waking watchers: a subscription on a connection of its own to the messages that commits publish."""

from __future__ import annotations

from collections.abc import AsyncIterator

from redis import exceptions as driver

from oacp_storage_core import StorageError
from oacp_storage_engine import NotApplied
from oacp_storage_redis.dropping import drop
from oacp_storage_redis.errors import answered
from oacp_storage_redis.layout import Layout
from oacp_storage_redis.scripts import packed
from oacp_storage_redis.topology import Topology

_QUIET_SECONDS = (
    5.0  # after which the connection is tried with a PING, and lost if nothing comes in as long again
)


async def signals(topology: Topology, layout: Layout) -> AsyncIterator[str | None]:
    """Agents that have new interactions, or None for any; ends with ``NotApplied`` when the connection is lost.

    On a cluster any node gets the messages of all.
    """
    try:
        connection = await (await topology.nodes())[0].connect()
    except StorageError:
        topology.forget()
        raise
    try:
        await connection.send_packed_command(packed([b"SUBSCRIBE", layout.channel]), check_health=False)
        asked = False
        while True:
            message = await connection.read_response(timeout=_QUIET_SECONDS)
            if message is None:
                if asked:
                    raise NotApplied("the connection that listens for new interactions does not answer")
                asked = True
                await connection.send_packed_command(packed([b"PING"]), check_health=False)
                continue
            asked = False
            if message[0] == b"subscribe":
                yield None  # what was published before is found by reading
            elif message[0] == b"message":
                for name in message[2].split(b"\0"):
                    yield name.decode() if name else None
    except driver.ResponseError as exc:
        raise answered(exc) from exc
    except (OSError, EOFError, driver.RedisError) as exc:
        topology.forget()
        raise NotApplied("the connection that listens for new interactions was lost") from exc
    finally:
        drop(connection)
