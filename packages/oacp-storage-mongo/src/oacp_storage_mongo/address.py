"""MongoDB URLs, and the settings of the driver that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from pymongo import common
from pymongo import errors as driver
from pymongo.uri_parser import SCHEME, SRV_SCHEME, parse_uri

from oacp_storage_core import StorageConfigError
from oacp_storage_core.near_miss import did_you_mean
from oacp_storage_core.urls import redact_url, split_url
from oacp_storage_mongo.driver import DriverName

_FORMS = "mongodb://host:27017,host:27017/database?replicaSet=rs0 or mongodb+srv://host/database"

_FIXED: dict[str, tuple[frozenset[str], str]] = {
    "w": (frozenset({"majority"}), "writes wait for a majority, always"),
    "journal": (frozenset({"true"}), "writes wait for the journal, always"),
    "j": (frozenset({"true"}), "writes wait for the journal, always"),
    "readconcernlevel": (frozenset({"majority", "snapshot"}), "reads see what a majority has, always"),
    "readpreference": (frozenset({"primary"}), "reads go to the primary, always"),
}
"""Keys of the query that may say only what is done anyway: anything else would be a weaker store or a wrong one."""

_OURS = {
    "maxpoolsize": "pool_size",
    "connecttimeoutms": "connect_timeout",
    "serverselectiontimeoutms": "connect_timeout",
    "sockettimeoutms": "response_timeout",
    "timeoutms": "timeout",
    "wtimeoutms": "timeout",
    "waitqueuetimeoutms": "timeout",
}
"""Keys of the query in place of which we have options."""

_SPELLED = """
    database driver pool_size connect_timeout response_timeout namespace coerce timeout
    appName authMechanism authMechanismProperties authSource compressors directConnection heartbeatFrequencyMS
    localThresholdMS maxIdleTimeMS replicaSet tlsAllowInvalidCertificates tlsAllowInvalidHostnames tlsCAFile
    tlsCertificateKeyFile tlsCertificateKeyFilePassword tlsCRLFile tlsInsecure
"""
"""What a URL may name as it is spelled: our options, and of the driver's, which knows all in lower case, the usual."""

_MALFORMED = (driver.InvalidURI, driver.ConfigurationError, ValueError, TypeError)
"""What the driver raises for a URL that it does not take."""

_PASSWORD = "in a user name or password : is written %3A, / %2F, ? %3F, # %23, @ %40 and % %25"  # noqa: S105 - advice


@dataclass(frozen=True)
class Address:
    """Where the store is: the URL for the driver, the database, and further settings of the client."""

    url: str = field(repr=False)
    database: str
    driver: DriverName
    settings: dict[str, Any] = field(repr=False)


def parse_address(
    url: str,
    *,
    database: str | None,
    username: str | None,
    password: str | None,
    driver_name: DriverName,
    connect_timeout: float,
    response_timeout: float,
) -> Address:
    """Check a URL and what stands beside it; raises ``StorageConfigError``, and connects to nothing."""
    shown = redact_url(url)
    if not url.startswith((SCHEME, SRV_SCHEME)):
        raise StorageConfigError(f"{shown} is no URL of a MongoDB; write {_FORMS}")
    query = split_url(url).query
    if "@" not in url.partition("?")[2]:  # otherwise a "key" may be a piece of a password
        for key, _, _ in filter(any, query):
            _check_known(key, shown)
    named = _database_of(url, shown)
    for key, value, _ in query:
        name = key.lower()
        if name in _FIXED and value.lower() not in _FIXED[name][0]:  # which may be a piece of a password
            raise StorageConfigError(f"{shown}: that value of {key} cannot be had: {_FIXED[name][1]}")
        if name in _OURS:
            raise StorageConfigError(f"{shown}: {key} cannot stand in the URL; use the option {_OURS[name]}=")
    settings: dict[str, Any] = {
        "w": "majority",
        "journal": True,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        # A statement that is sent again by the driver would be one more that may arrive late; we send again ourselves.
        "retryWrites": False,
        "retryReads": False,
        "connectTimeoutMS": round(connect_timeout * 1000),
        "serverSelectionTimeoutMS": round(connect_timeout * 1000),
        "socketTimeoutMS": round(response_timeout * 1000),
    }
    if username is not None:
        settings["username"] = username
    if password is not None:
        settings["password"] = password
    if named and database and named != database:
        raise StorageConfigError(
            f"{shown} names the database {named!r}, and the option {database!r}: give one"
        )
    chosen = database or named or "oacp"
    if not chosen or len(chosen.encode()) > 63 or set(chosen) & set('/\\. "$*<>:|?\0'):
        raise StorageConfigError(f"{chosen!r} is no name of a MongoDB database")
    return Address(url, chosen, driver_name, settings)


def _check_known(key: str, shown: str) -> None:
    known: Mapping[str, object] = getattr(
        common, "VALIDATORS", {}
    )  # without it the driver refuses, in fewer words
    if known and key.lower() not in known:
        raise StorageConfigError(
            f"{shown}: neither oacp-storage nor MongoDB's driver knows {key!r}"
            f"{did_you_mean(key, (*known, *_SPELLED.split()))}"
        )


def _database_of(url: str, shown: str) -> str | None:
    """The database in the URL, checked by the driver as far as it does that without looking up names."""
    if url.startswith(SRV_SCHEME):  # its parser would ask the name server
        userinfo, at, place = url.partition("://")[2].rpartition("@")
        path = place.partition("?")[0].partition("/")[2]
        if at and set(userinfo) & set("/?@"):  # a piece of the password would be taken for something else
            raise StorageConfigError(f"{shown} is malformed: {_PASSWORD}")
        return unquote(path) or None
    try:
        parsed = parse_uri(url, validate=True, warn=False)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise StorageConfigError(f"{shown} names a file that cannot be read: {reason}") from exc
    except _MALFORMED as exc:
        # The driver's words may repeat a piece of the password.
        if key := _refused_key(url):
            raise StorageConfigError(f"{shown}: MongoDB's driver takes no such value of {key}") from None
        advice = _PASSWORD if "@" in url else f"write {_FORMS}"
        raise StorageConfigError(f"{shown} is malformed ({type(exc).__name__}): {advice}") from None
    found: str | None = parsed["database"]
    return found


def _refused_key(url: str) -> str | None:
    """The first key of the query whose value the driver refuses for itself."""
    if "@" in url.partition("?")[2]:  # it may be a piece of a password
        return None
    for key, value, _ in filter(any, split_url(url).query):
        try:
            parse_uri(f"{SCHEME}localhost/?{urlencode({key: value})}", validate=True, warn=False)
        except _MALFORMED:
            return key
    return None
