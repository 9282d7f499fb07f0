"""The condition of the servers: versions, and how durable an acknowledged write is, as read from their settings."""

from __future__ import annotations

from redis import exceptions as driver

from oacp_storage_core import Durability, StorageConfigError, StorageError
from oacp_storage_engine import Info
from oacp_storage_redis.calls import Calls
from oacp_storage_redis.connections import Node
from oacp_storage_redis.errors import answered, code_of
from oacp_storage_redis.layout import SCHEMA_VERSION
from oacp_storage_redis.scripts import packed

_SECTIONS = (b"server", b"persistence", b"replication", b"memory")
_SETTINGS = (b"appendfsync", b"maxmemory", b"maxmemory-policy", b"no-appendfsync-on-rewrite")
_RANK: list[Durability] = ["none", "unknown", "crash", "power-cut"]


async def condition(calls: Calls, nodes: list[Node], *, clustered: bool, min_replicas: int) -> Info:
    """The condition of all nodes together: the weakest of them counts.

    Raises ``StorageConfigError`` for the node of a cluster that is not used as one (``clustered``).
    """
    durability: Durability = "power-cut"
    warnings: dict[str, None] = {}
    version = ""
    for node in nodes:
        info, settings = await _ask(calls, node)
        if info.get("redis_mode") == "cluster" and not clustered:
            raise StorageConfigError(
                f"Redis at {node.address} is a node of a cluster: write redis+cluster:// (and ?ssl=true for TLS)"
            )
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = version or f"{name} {info.get('valkey_version') or info.get('redis_version', '?')}"
        weakest = _durability(info, settings, warnings)
        durability = min(durability, weakest, key=_RANK.index)
        _warn_of_loss(info, settings, min_replicas, warnings)
    return Info(version, SCHEMA_VERSION, durability, tuple(warnings))


async def _ask(calls: Calls, node: Node) -> tuple[dict[str, str], dict[str, str]]:
    commands = b"".join([packed([b"INFO", section]) for section in _SECTIONS])
    commands += b"".join([packed([b"CONFIG", b"GET", name]) for name in _SETTINGS])
    found = await calls.on_node(node, commands, len(_SECTIONS) + len(_SETTINGS))
    info: dict[str, str] = {}
    for section in found[: len(_SECTIONS)]:
        if isinstance(section, Exception):
            raise _refusal(section)
        for line in section.decode(errors="replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                info[key] = value
    settings: dict[str, str] = {}
    for pair in found[len(_SECTIONS) :]:
        if not isinstance(pair, Exception) and len(pair) == 2:  # managed servers forbid CONFIG
            settings[pair[0].decode()] = pair[1].decode()
    return info, settings


def _durability(info: dict[str, str], settings: dict[str, str], warnings: dict[str, None]) -> Durability:
    if info.get("aof_enabled") != "1":
        warnings[
            "the append-only file is off: what was acknowledged since the last snapshot is lost when the server stops; "
            "set appendonly yes and appendfsync always"
        ] = None
        return "none"
    if info.get("aof_last_write_status", "ok") != "ok":
        warnings["the server could not write to its append-only file lately; see its log"] = None
    fsync = settings.get("appendfsync")
    if fsync is None:
        warnings[
            "the server does not tell its appendfsync (CONFIG GET is forbidden): whether acknowledged writes survive a "
            "power cut is unknown"
        ] = None
        return "unknown"
    if fsync == "always" and settings.get("no-appendfsync-on-rewrite") == "yes":
        warnings[
            "no-appendfsync-on-rewrite is yes: a power cut during a rewrite of the append-only file may lose "
            "acknowledged writes"
        ] = None
        return "crash"
    if fsync == "always":
        return "power-cut"
    seconds = "of the last second or two" if fsync == "everysec" else "of the last half minute or more"
    warnings[
        f"appendfsync is {fsync}: a power cut may lose acknowledged writes {seconds}; set it to always"
    ] = None
    return "crash"


def _warn_of_loss(
    info: dict[str, str], settings: dict[str, str], min_replicas: int, warnings: dict[str, None]
) -> None:
    policy = settings.get("maxmemory-policy") or info.get("maxmemory_policy") or "noeviction"
    if policy != "noeviction" and (settings.get("maxmemory") or info.get("maxmemory", "0")) != "0":
        warnings[
            f"maxmemory-policy is {policy}: when memory runs out the server deletes acknowledged data; set it to "
            "noeviction"
        ] = None
    replicas = int(info.get("connected_slaves", "0"))
    if info.get("role") == "slave":
        warnings[
            "the server is a replica and takes no writes: connect to the master, or to the sentinels"
        ] = None
    elif min_replicas > replicas:
        warnings[
            f"the server has {replicas} replicas and min_replicas is {min_replicas}: writes cannot be acknowledged"
        ] = None
    elif replicas and not min_replicas:
        warnings[
            "the server has replicas, and writes are acknowledged before they have them: a failover may lose "
            "acknowledged writes; set min_replicas=1"
        ] = None


def _refusal(answer: Exception) -> StorageError:
    if isinstance(answer, driver.NoPermissionError) or code_of(answer) == "NOPERM":
        return StorageError("the user may not call INFO: allow it (+info), so that durability can be told")
    return answered(answer)
