"""Redis URLs of all kinds, taken apart into where to connect and with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    parse_url,
)

from oacp_storage_core import StorageConfigError
from oacp_storage_core.urls import redact_url

Kind = Literal["server", "cluster", "sentinel"]
Host = tuple[str, int]

_SCHEMES = {
    "redis": ("server", "redis"),
    "rediss": ("server", "rediss"),
    "redis+unix": ("server", "unix"),
    "unix": ("server", "unix"),
    "redis+cluster": ("cluster", "redis"),
    "redis+sentinel": ("sentinel", "redis"),
}
_FORMS = (
    "redis://host:6379/0, rediss://host:6379, redis+unix:///path/to/socket, redis+cluster://host:6379,host:6379 or "
    "redis+sentinel://host:26379,host:26379/service"
)
_PORTS = {"server": 6379, "cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True)
class Address:
    """Where the store is. ``settings`` are the driver's keyword arguments of a connection to a data node."""

    kind: Kind
    hosts: list[Host]
    settings: dict[str, Any] = field(repr=False)
    sentinel_settings: dict[str, Any] = field(repr=False)
    service: str = ""
    path: str = ""

    def connection(self, host: Host | None) -> Callable[[], Any]:
        """What makes a connection to that data node, or to the Unix socket."""
        settings = dict(self.settings)
        kind: Any = settings.pop("connection_class", Connection)
        if host is not None:
            settings["host"], settings["port"] = host
        return lambda: kind(**settings)

    def sentinel_connection(self, host: Host) -> Callable[[], Any]:
        """What makes a connection to a sentinel."""
        settings = {**self.sentinel_settings, "host": host[0], "port": host[1]}
        kind: Any = settings.pop("connection_class", Connection)
        return lambda: kind(**settings)


_PORT = "no number stands where its port is wanted; in a password / is written %2F, ? is %3F and # is %23"


def parse_address(url: str, given: dict[str, Any], sentinel: dict[str, Any]) -> Address:
    """Take a URL apart; ``given`` (username, password) and ``sentinel`` (likewise) stand beside it.

    What stands in its query is the driver's (``db``, ``ssl_ca_certs``, ``health_check_interval`` and so on);
    ``ssl=true`` asks for TLS where the scheme does not. Raises ``StorageConfigError``.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise StorageConfigError(f"{redact_url(url)} is no URL of a Redis; write {_FORMS}")
    kind, driver_scheme = _SCHEMES[scheme.lower()]
    place, mark, query = rest.partition("?")
    userinfo, at, place = place.rpartition("@")
    hosts, _, path = place.partition("/")
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise StorageConfigError(
                f"{redact_url(url)} names no service after the sentinels; write {_FORMS}"
            )
    listed = [_host(text, _PORTS[kind], url) for text in hosts.split(",")] if driver_scheme != "unix" else []
    if kind == "server" and len(listed) > 1:
        raise StorageConfigError(
            f"{redact_url(url)} names several hosts: write redis+cluster:// or redis+sentinel:// for them"
        )
    try:
        settings: dict[str, Any] = dict(parse_url(f"{driver_scheme}://{userinfo}{at}/{path}{mark}{query}"))
    except ValueError as exc:
        # What the driver takes for the port may be a piece of the password.
        fault = _PORT if "ort " in str(exc) else str(exc)
        raise StorageConfigError(f"{redact_url(url)} is malformed: {fault}") from None
    settings.pop("host", None)
    if path and driver_scheme != "unix" and not path.isdigit():
        raise StorageConfigError(
            f"{redact_url(url)}: the number of a database is wanted where {path!r} stands"
        )
    if str(settings.pop("ssl", "false")).lower() in {"true", "1", "yes"} and driver_scheme != "unix":
        settings["connection_class"] = SSLConnection
    if settings.get("connection_class") is SSLConnection and settings.get("ssl_cert_reqs") != "none":
        settings.setdefault("ssl_check_hostname", True)  # not every release of the driver does by itself
    settings.update({name: value for name, value in given.items() if value is not None})
    if kind == "cluster" and settings.get("db", 0) != 0:
        raise StorageConfigError(f"{redact_url(url)}: a cluster has only database 0")
    # Own time limits stand around each step; the driver's would make a task for every command that is sent.
    fixed = {"socket_timeout": None, "socket_keepalive": True, "protocol": 2, "decode_responses": False}
    for name in settings.keys() & {"retry_on_timeout", "max_connections", "timeout", *fixed}:
        raise StorageConfigError(
            f"{redact_url(url)}: {name} cannot stand in the URL; see the options of RedisStorage"
        )
    settings |= fixed if driver_scheme != "unix" else _without_keepalive(fixed)
    inherited = {
        name: value
        for name, value in settings.items()
        if name.startswith("ssl_") or name == "connection_class"
    }
    address = Address(
        kind,  # type: ignore[arg-type]  # the table above holds these only
        listed,
        settings,
        {**inherited, **fixed, **{name: value for name, value in sentinel.items() if value is not None}},
        unquote(service),
        path=f"/{path}" if driver_scheme == "unix" else "",
    )
    _try(address, url)
    return address


def _without_keepalive(fixed: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fixed.items() if name != "socket_keepalive"}


def _host(text: str, default_port: int, url: str) -> Host:
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, str(default_port)
    name = unquote(name.removeprefix("[").removesuffix("]")) or "localhost"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise StorageConfigError(
            f"{redact_url(url)} is malformed: the port of a host is no number up to 65535"
        )
    return name, int(port)


def _try(address: Address, url: str) -> None:
    """Make a connection object, which connects to nothing, to see whether the driver takes the settings."""
    try:
        address.connection(address.hosts[0] if address.hosts else None)()
    except (TypeError, ValueError) as exc:
        unknown = str(exc).rpartition("argument ")[2] if "unexpected keyword" in str(exc) else ""
        hint = f"the driver knows no {unknown}" if unknown else "the driver refuses its query"
        raise StorageConfigError(f"{redact_url(url)}: {hint}") from None
