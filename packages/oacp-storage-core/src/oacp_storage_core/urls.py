"""Storage URLs: taken apart as far as core may, and made fit to be shown.

Core splits off the scheme and the query only. What stands between belongs to the backend: lists of hosts, for
example, are no URL in the sense of the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from oacp_storage_core.errors import StorageConfigError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECRET_WORD = re.compile(r"pass|pwd|secret|token|credential|api[_.-]?key|private|signature", re.IGNORECASE)
_SECRET_NAME = re.compile(rf"{_SECRET_WORD.pattern}|key$|auth$", re.IGNORECASE)
_ASSIGNMENT = re.compile(  # of a connection string such as "host=db password='s p a c e'"
    rf"(\w*(?:{_SECRET_WORD.pattern})\w*\s*=\s*)"
    r"""('(?:[^'\\]|\\.)*(?:'|\Z)|"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s;&]+)""",
    re.IGNORECASE | re.DOTALL,
)
_HIDDEN = "***"
_HARMLESS_KEYS = """
    appname applicationname authmechanism authsource autobackup autovacuum backupinterval backupkeep cachesize
    clientname coerce compressors connecttimeout connecttimeoutms database databasepath db dbname directconnection
    directory driver durability enablejsonindexing enablewalmode healthcheckinterval heartbeatfrequencyms host
    hostaddr journal loadbalanced localthresholdms maxconnections maxfilesize maxidletimems maxoverflow maxpoolsize
    maxstalenessseconds minpoolsize minreplicas mode name namespace partitionbydate pgbouncer poolsize port protocol
    readconcernlevel readpreference replicaset responsetimeout retryreads retrywrites serverselectiontimeoutms
    servicename sockettimeout sockettimeoutms socketconnecttimeout ssl sslcacerts sslcertreqs sslcheckhostname
    sslmode sslrootcert targetsessionattrs timeout tls tlsallowinvalidcertificates tlsallowinvalidhostnames
    tlscafile tlsinsecure user w waitqueuetimeoutms wtimeoutms
"""
"""Options and query keys whose values are no secrets, in lower case, without _ - and dots."""
_SHOWN_KEYS = frozenset(_HARMLESS_KEYS.split())


class UrlParts(NamedTuple):
    """A URL without its query, and the query as ``(key, value, raw text)``, keys and values percent-decoded."""

    scheme: str
    base: str
    query: tuple[tuple[str, str, str], ...]

    def without(self, keys: set[str]) -> str:
        """The URL without these keys of its query; everything else is left exactly as it was written."""
        left = [raw for key, _, raw in self.query if key not in keys]
        return f"{self.base}?{'&'.join(left)}" if left else self.base


def split_url(url: str) -> UrlParts:
    """Take a URL apart; ``StorageConfigError`` when it is malformed.

    The scheme comes back in lower case. The query begins at the first ``?`` and its pairs are divided by
    ``&``; ``+`` is a plus sign. There are no fragments: ``#`` is a character like any other.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise StorageConfigError(
            f"the URL {redact_url(url)} is malformed: it must begin with a scheme, as in sqlite:///oacp.db"
        )
    if _CONTROL.search(url):
        raise StorageConfigError(
            f"the URL {_CONTROL.sub('?', redact_url(url))} is malformed: it contains a control character "
            "(a line break at its end?)"
        )
    base, mark, query = url.partition("?")
    return UrlParts(scheme.lower(), base, tuple(_pair(raw, url) for raw in query.split("&")) if mark else ())


def _pair(raw: str, url: str) -> tuple[str, str, str]:
    key, _, value = raw.partition("=")
    try:
        return unquote(key, errors="strict"), unquote(value, errors="strict"), raw
    except UnicodeDecodeError:
        raise StorageConfigError(
            f"the URL {redact_url(url)} is malformed: its query is not percent-encoded UTF-8"
        ) from None


def quote_userinfo(text: str) -> str:
    """A user name or password as it must stand in a URL."""
    return quote(text, safe="")


def is_secret(name: str) -> bool:
    """Whether an option or query key of this name may hold a secret, so that its value is never shown."""
    return _SECRET_NAME.search(name) is not None


def is_harmless(name: str) -> bool:
    """Whether an option or query key of this name is known to hold no secret, so that its value may be shown."""
    return re.sub(r"[_.-]", "", name).lower() in _SHOWN_KEYS


def redact_url(url: object) -> str:
    """The URL or connection string as it may be shown: whatever could be a password is ``***``.

    It never fails and rather hides too much: passwords that should have been percent-encoded (with ``@``,
    ``/``, ``?`` or ``:`` in them), a user without password (it may be a token), the values in
    the query of keys that are not known to be harmless (one may be a misspelt password), and ``password=...`` in
    connection strings of other forms. Lists of hosts are shown.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        scheme, separator, rest = "", "", _ASSIGNMENT.sub(rf"\1{_HIDDEN}", str(url))
    userinfo, at, place = rest.rpartition("@")
    if at and _SECRET_WORD.search(unquote(userinfo.partition("?")[2])):
        return (
            scheme + separator + _HIDDEN
        )  # the @ may be of a password in the query, or end one with a ? in it
    # Without a host, as in sqlite:///me@work.db, an @ belongs to the path, unless something like user:password
    # stands before it: then there is a slash too many.
    if at and not (rest.startswith("/") and ":" not in userinfo):
        user, colon, _ = userinfo.partition(":")
        shown = f"{user}:{_HIDDEN}" if colon and re.fullmatch(r"[\w.+-]*", user) else _HIDDEN
        rest = f"{shown}@{place}"
    base, mark, query = rest.partition("?")
    return scheme + separator + _ASSIGNMENT.sub(rf"\1{_HIDDEN}", base) + mark + _redact_query(query)


def _redact_query(query: str) -> str:
    shown: list[str] = []
    hiding = False
    for raw in query.split("&"):
        key, equals, value = raw.partition("=")
        if not equals and hiding:  # the rest of a password with & in it
            continue
        text = unquote(value)
        suspect = "@" in text or _SECRET_WORD.search(text) is not None
        hiding = bool(equals) and (suspect or not is_harmless(unquote(key)))
        shown.append(f"{key}={_HIDDEN}" if hiding and equals else raw)
    return "&".join(shown)


def secrets_among(options: Mapping[str, object], url: str | None = None) -> set[str]:
    """The texts of a URL and of options that must not be repeated in a message."""
    found = set() if url is None else _secrets_in_url(url)
    for name, value in options.items():
        if not isinstance(value, str):
            continue
        if is_secret(name) or redact_url(value) != value:  # a password, or a URL with one in it
            found.add(value)
        if "://" in value:
            found |= _secrets_in_url(value)
    return found - {""}


def hide(secrets: Iterable[str], text: str) -> str:
    """The text with each of these secrets, as it is or as ``repr`` writes it, replaced by ``***``."""
    forms = {form for secret in secrets for form in (secret, repr(secret)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):  # one may be a part of another
        text = text.replace(form, _HIDDEN)
    return text


def assigned_secrets(text: str) -> set[str]:
    """The passwords of a connection string of the form ``host=db password=...``, without their quotes."""
    return {found.strip("'\"") for _, found in _ASSIGNMENT.findall(text)} - {""}


def _secrets_in_url(url: str) -> set[str]:
    base, _, query = url.partition("?")
    password = base.partition("://")[2].rpartition("@")[0].partition(":")[2]
    pairs = [raw.partition("=") for raw in query.split("&")]
    written = [password, *(value for key, _, value in pairs if is_secret(unquote(key)))]
    return {*written, *map(unquote, written)}
