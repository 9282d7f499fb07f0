"""Hiding: what a configuration holds that may be a secret, and texts of others from which it is taken out.

A driver's own words tell most about a failure, and may repeat anything that the driver was given: a password, a piece
of one that was quoted badly, a token under an option that nobody here has heard of. So every text counts as a secret
that a storage named on the command line or configured here holds under an option not known to be harmless.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from oacp_storage_core import StorageConfigError
from oacp_storage_core.sources import ENVIRONMENT_VARIABLE
from oacp_storage_core.toml_file import FilledIn, find_config, read_config
from oacp_storage_core.urls import assigned_secrets, is_harmless, is_secret

_HIDDEN = "***"
_SHORT = 4
_LONGEST = 500
_OUR_KEYS = frozenset({"backend", "url", "wrappers"})


class Secrets(NamedTuple):
    """Texts that are passwords, and texts that may be."""

    passwords: frozenset[str]
    others: frozenset[str]

    def mask(self, text: str) -> str:
        """The text with each of them replaced by ``***``, however it is written; short ones as whole words only."""
        forms = {form for secret in self.passwords | self.others for form in _forms(secret)}
        for form in sorted(forms, key=len, reverse=True):  # one may be a part of another
            pattern = re.escape(form)
            if len(form) < _SHORT:
                pattern = rf"(?<!\w){pattern}(?!\w)"
            text = re.sub(pattern, _HIDDEN, text, flags=re.IGNORECASE)
        return text

    def one_line(self, text: str) -> str | None:
        """The text's first line, masked; None when even so a piece of a password is left in it, or nothing is."""
        lines = [line for line in map(str.strip, self.mask(text).splitlines()) if line]
        if not lines or any(self._shows(password, lines[0]) for password in self.passwords):
            return None
        return lines[0] if len(lines[0]) <= _LONGEST else f"{lines[0][:_LONGEST]} ..."

    def _shows(self, password: str, text: str) -> bool:
        """Whether a word of the password stands in the masked text: a driver may have taken it apart."""
        words = {word for form in (password, unquote(password)) for word in re.findall(r"\w+", form)}
        if not words:
            return password in text
        return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in words)


def secrets_in_reach(tokens: Sequence[str]) -> Secrets:
    """What no text of others may show after a run with these arguments."""
    passwords: set[str] = set()
    others: set[str] = set()
    for key, value, harmless in _values(tokens):
        text = str(value)
        passwords |= assigned_secrets(text)
        if "://" in text:
            _sort_url(text, passwords, others)
        if is_secret(key):
            passwords.add(text)
        elif not harmless and (isinstance(value, str) or len(text) >= _SHORT):  # 1 and 30 are sizes and times
            others.add(text)
    return Secrets(frozenset(passwords - {""}), frozenset(others - {""}))


def _values(tokens: Sequence[str]) -> Iterator[tuple[str, object, bool]]:
    """Everything that may configure a storage: its key, the value, and whether it is known to be no secret."""
    files: list[Path | None] = [find_config()]
    for token in [*tokens, os.environ.get(ENVIRONMENT_VARIABLE, "")]:
        source = token.partition("=")[2] if token.startswith("-") else token
        if "://" in source:
            yield "url", source, True
        elif source.endswith(".toml"):
            files.append(Path(source))
    for path in files:
        if path is not None:
            yield from _values_in(path)


def _values_in(path: Path) -> Iterator[tuple[str, object, bool]]:
    try:
        config = read_config(path)
    except StorageConfigError:  # then no storage was made of it
        return
    for table in config.storages.values():
        for key, value in table.items():
            try:
                filled = FilledIn.of(value, config.path.parent, "").value
            except StorageConfigError:  # nor of this table
                filled = value
            yield from _flat(key, filled, harmless=True)


def _flat(key: str, value: object, *, harmless: bool) -> Iterator[tuple[str, object, bool]]:
    harmless = harmless and (is_harmless(key) or key in _OUR_KEYS)
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _flat(inner, one, harmless=harmless)
    elif isinstance(value, list):
        for one in value:
            yield from _flat(key, one, harmless=harmless)
    elif not isinstance(value, bool):
        yield key, value, harmless


def _sort_url(url: str, passwords: set[str], others: set[str]) -> None:
    rest = url.partition("://")[2]
    base, _, query = rest.partition("?")
    for part in (base, rest):  # the password may have a ? in it that should have been percent-encoded
        userinfo, at, _ = part.rpartition("@")
        if at and not (part.startswith("/") and ":" not in userinfo):  # else it belongs to a path
            user, colon, password = userinfo.partition(":")
            passwords.add(password if colon else user)
    for raw in query.split("&"):
        key, _, value = raw.partition("=")
        if is_secret(unquote(key)):
            passwords.add(value)
        elif not is_harmless(unquote(key)):
            others.add(value)


def _forms(secret: str) -> set[str]:
    """The ways in which a text may be written: as it is, percent-encoded or decoded, as ``repr`` writes it."""
    plain = {secret, unquote(secret)}
    return {form for one in plain for form in (one, quote(one, safe=""), repr(one)[1:-1])} - {""}
