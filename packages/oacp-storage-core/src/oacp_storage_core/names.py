"""Names: the one rule for agent ids, document keys and interaction ids, and the one for namespaces."""

from __future__ import annotations

import re

from oacp_storage_core.errors import InvalidKeyError, StorageConfigError

MAX_NAME_BYTES = 512

_NAMESPACE = re.compile(r"[a-z0-9_-]{1,64}")


def check_name(name: object, what: str = "agent_id") -> str:
    """The name as an exact ``str``, or ``InvalidKeyError``.

    Names are 1 to 512 bytes of UTF-8 without NUL; they are never folded, trimmed or normalised.
    """
    if type(name) is str and name.isascii() and 0 < len(name) <= MAX_NAME_BYTES and "\0" not in name:
        return name
    if not isinstance(name, str):
        raise InvalidKeyError(f"{what} must be a str, not {type(name).__name__}")
    name = str.__str__(name)  # a subclass (StrEnum) stands for its text
    if not name:
        raise InvalidKeyError(f"{what} is empty; it must have 1 to {MAX_NAME_BYTES} bytes of UTF-8")
    if "\0" in name:
        raise InvalidKeyError(f"{what} {_shown(name)} contains a NUL character; remove it")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidKeyError(
            f"{what} {_shown(name)} contains a lone surrogate and is no valid text"
        ) from None
    if size > MAX_NAME_BYTES:
        raise InvalidKeyError(
            f"{what} {_shown(name)} has {size} bytes of UTF-8; at most {MAX_NAME_BYTES} are allowed"
        )
    return name


def check_prefix(prefix: object, what: str = "prefix") -> str:
    """The beginning of names, or a bound between them: like a name, but of any length, even empty."""
    if not isinstance(prefix, str):
        raise InvalidKeyError(f"{what} must be a str, not {type(prefix).__name__}")
    prefix = str.__str__(prefix)
    if "\0" in prefix or any("\ud800" <= char <= "\udfff" for char in prefix):
        raise InvalidKeyError(
            f"{what} {_shown(prefix)} contains a NUL or a lone surrogate, which no name has"
        )
    return prefix


def check_namespace(namespace: object) -> str:
    """The namespace, or ``StorageConfigError``."""
    if isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace):
        return namespace
    raise StorageConfigError(
        f"namespace {namespace!r} is not valid: use 1 to 64 of the characters a-z, 0-9, _ and -"
    )


def _shown(name: str) -> str:
    """The name for a message: escaped, and cut where it is long."""
    text = ascii(name)
    return text if len(text) <= 60 else f"{text[:50]}...'"
