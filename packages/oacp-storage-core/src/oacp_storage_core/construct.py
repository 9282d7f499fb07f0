"""Construct: from a backend's class and what was given for it to its instance, with every error made readable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from oacp_storage_core.adapter import adapt
from oacp_storage_core.backend import StorageBackend
from oacp_storage_core.errors import BackendLoadError, StorageConfigError, StorageError
from oacp_storage_core.options import Given, Options, options_of
from oacp_storage_core.registry import Found
from oacp_storage_core.sources import Resolved
from oacp_storage_core.storage import Storage
from oacp_storage_core.urls import hide, secrets_among, split_url


def construct(found: Found, resolved: Resolved) -> Storage:
    """The storage, built but not opened. Raises ``StorageConfigError`` for wrong options or a wrong URL."""
    label = f"{resolved.where}: {found.label}" if resolved.where else found.label
    declared, adapters = _options(found.backend, resolved, label)
    url, given = _with_query(resolved, declared, label)
    if resolved.directory is not None:  # what the file leaves to the defaults is relative to it as well
        given = {
            name: Given(path, directory=resolved.directory) for name, path in declared.paths.items()
        } | given
    if "url" in given and "url" not in declared.hints and not declared.open:
        raise StorageConfigError(f"{label}: backend and url are both given; give only one of them")
    options = declared.check(given, label)
    if missing := declared.required - options.keys():
        raise StorageConfigError(
            f"{label} needs {', '.join(sorted(missing))}; its options are {_listed(declared)}"
        )
    coerce = bool(options.pop("coerce", False)) if adapters else False
    if url is not None and resolved.directory is not None and found.backend.relative_urls:
        url = _in_directory(url, resolved.directory)
    return adapt(_call(found.backend, url, options, label, resolved.where), coerce=coerce)


def _options(backend: type[StorageBackend], resolved: Resolved, label: str) -> tuple[Options, bool]:
    """The options of the class, and whether ``coerce`` is one of them only because of the adapter."""
    by_url = resolved.url is not None
    if by_url and not callable(getattr(backend, "from_url", None)):
        raise StorageConfigError(
            f"{label} cannot be named by a URL: its class has no from_url; name it {resolved.backend!r} and give "
            f"its options ({_listed(options_of(backend))})"
        )
    declared = options_of(backend, from_url=by_url)
    if issubclass(backend, Storage) or "coerce" in declared.hints:
        return declared, False
    return declared.with_option("coerce", bool), True


def _listed(declared: Options) -> str:
    return ", ".join(sorted(declared.hints)) or "none"


def _with_query(resolved: Resolved, declared: Options, label: str) -> tuple[str | None, dict[str, Given]]:
    """The URL without those keys of its query that are options, and all options."""
    given = dict(resolved.options)
    if resolved.url is None:
        return None, given
    parts = split_url(resolved.url)
    taken: set[str] = set()
    for key, value, _ in parts.query:
        if key == "wrappers":  # left to a driver it would be ignored, and plaintext stored
            raise StorageConfigError(
                f"{label}: wrappers cannot stand in a URL; give them in oacp.toml or as a keyword"
            )
        if key not in declared.hints:
            continue
        if key in taken:
            raise StorageConfigError(
                f"{label}: the option {key!r} stands twice in the URL's query; give it once"
            )
        if key in given:
            raise StorageConfigError(
                f"{label}: the option {key!r} is given both in the URL's query and beside it; give it once"
            )
        taken.add(key)
        given[key] = Given(value, text=True)
    return parts.without(taken), given


def _in_directory(url: str, directory: Path) -> str:
    """``sqlite:///x`` with x as a path in the directory, unless it is absolute or no path (``:memory:``)."""
    base, mark, query = url.partition("?")
    scheme, _, rest = base.partition("://")
    path = unquote(rest[1:])
    if not rest.startswith("/") or not path or path.startswith(":"):
        return url
    return f"{scheme}:///{quote((directory / path).as_posix(), safe='/:')}{mark}{query}"


def _call(
    backend: type[StorageBackend], url: str | None, options: Mapping[str, Any], label: str, where: str
) -> StorageBackend:
    make: Any = backend if url is None else backend.from_url  # type: ignore[attr-defined]  # _options saw that it is there
    try:
        made = make(**options) if url is None else make(url, **options)
    except StorageError as exc:
        said = str(exc)
        shown = hide(secrets_among(options, url), said)
        if shown != said:
            raise StorageConfigError(f"{label}: {shown}") from None  # nor may the cause be shown below it
        if where and where not in said:
            raise StorageConfigError(f"{label}: {said}") from exc
        raise
    except Exception as exc:
        # A driver may show a password in pieces, too: then nothing of its message can be.
        if any(secret in str(exc) for secret in secrets_among(options, url)):
            raise StorageConfigError(
                f"{label} refuses its options with {type(exc).__name__}; its message is not repeated, because it "
                "contains a password"
            ) from None
        raise StorageConfigError(f"{label} refuses its options: {type(exc).__name__}: {exc}") from exc
    if not isinstance(made, StorageBackend):
        raise BackendLoadError(f"{label}: from_url made no StorageBackend but a {type(made).__name__}")
    return made
