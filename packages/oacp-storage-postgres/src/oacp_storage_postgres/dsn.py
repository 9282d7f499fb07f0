"""Connection strings: what is malformed is refused before a driver repeats a piece of it that may be a password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from oacp_storage_core import StorageConfigError

PARTS = ("host", "port", "database", "user", "password")
"""What a connection string consists of, and what can be given instead of one."""

_URL = re.compile(
    r"postgres(?:ql)?://(?P<authority>[^/?]*)(?P<path>[^?]*)\??(?P<query>.*)", re.DOTALL | re.IGNORECASE
)


def dsn_settings(text: str, option: str, *, writing: bool) -> dict[str, Any]:
    """asyncpg's settings for a connection string, which is the value of ``option``.

    With ``writing`` the primary is taken of several hosts, unless the string says which one. Raises
    ``StorageConfigError``, which does not show the string, for one that is malformed.
    """
    match = _match(text, option)
    hosts = match["authority"].rpartition("@")[2]
    ports = [host.rpartition(":")[2] for host in hosts.split(",") if re.search(r":[^\]]*$", host)]
    if (
        "#" in text
        or "@" in match["path"] + match["query"]
        or any(not re.fullmatch("[0-9]+", port) for port in ports)
    ):
        raise StorageConfigError(
            f"{option} is malformed: a port must be a number, and special characters of user and password must be "
            "percent-encoded (/ as %2F, @ as %40, : as %3A, ? as %3F, # as %23)"
        )
    query = parse_qs(match["query"])
    several = "," in hosts or any("," in host for host in query.get("host", ()))
    if writing and several and "target_session_attrs" not in query:
        return {"dsn": text, "target_session_attrs": "primary"}
    return {"dsn": text}


def with_parts(url: str, parts: Mapping[str, Any]) -> str:
    """The URL with these of ``PARTS`` in its query. Raises ``StorageConfigError`` for one that it has already."""
    if not parts:
        return url
    match = _match(url, "the URL")
    login, _, hosts = match["authority"].rpartition("@")
    user, _, password = login.partition(":")
    there = {
        "host": hosts,
        "port": hosts,
        "database": match["path"].strip("/"),
        "user": user,
        "password": password,
    }
    query = parse_qs(match["query"]) | ({"database": [""]} if "dbname=" in match["query"] else {})
    if twice := [name for name in parts if there[name] or name in query]:
        raise StorageConfigError(f"the URL has {', '.join(twice)} already; give each of them once")
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}{urlencode(dict(parts), quote_via=quote)}"


def _match(text: str, option: str) -> re.Match[str]:
    match = _URL.fullmatch(text)
    if match is None:
        raise StorageConfigError(
            f"{option} is no URL of a PostgreSQL server: it must begin with postgresql:// as in "
            "postgresql://user:password@host:5432/database"
        )
    return match
