"""Sources: how the suite builds storages, in this process and in others, without connecting yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any

from oacp_storage_core import Storage, StorageBackend, adapt, create_storage

Source = str | Mapping[str, Any] | Callable[..., StorageBackend]
"""A configured name, URL or mapping as ``open_storage`` takes it; or, for a class that is not installed, a
callable that takes options as keywords and returns a new instance each time."""

_NAMESPACE_IN_URL = re.compile(r"([?&])namespace=[^&]*&?")
_USERINFO = re.compile(r"://[^/@\s]*@")


def build(source: Source, **options: Any) -> Storage:
    """A new storage at the source, not opened; ``options`` win over those of the source."""
    if "namespace" in options:
        source = without_namespace(source)
    if isinstance(source, str | Mapping):
        return create_storage(source, **options)
    backend = source(**options)
    return backend if isinstance(backend, Storage) else adapt(backend)


def without_namespace(source: Source) -> Source:
    """The source without a namespace of its own, which the suite replaces by one that it made up."""
    if isinstance(source, Mapping):
        return {key: value for key, value in source.items() if key != "namespace"}
    if isinstance(source, str) and "://" in source:
        return _NAMESPACE_IN_URL.sub(r"\1", source).rstrip("?&")
    return source


def shown(source: Source) -> str:
    """The source for people, without the password that a URL may hold."""
    if isinstance(source, str):
        return _USERINFO.sub("://***@", source)
    if isinstance(source, Mapping):
        return str(source.get("backend", "a URL"))
    named = source.func if isinstance(source, partial) else source
    return getattr(named, "__qualname__", type(named).__qualname__)


def password_of(source: Source) -> str | None:
    """The password in the source, which must not be seen anywhere; None when there is none to see."""
    if isinstance(source, Mapping):
        given = source.get("password") or source.get("url")
        if not isinstance(given, str):
            return None
        return password_of(given) if "://" in given else given
    if isinstance(source, str) and (found := re.search(r"://[^/@\s:]*:([^/@\s]+)@", source)):
        return found.group(1)
    return None


def to_plain(source: Source) -> Any:
    """The source as JSON for another process; ``ValueError`` for a callable that cannot be imported there."""
    if isinstance(source, str):
        return source
    if isinstance(source, Mapping):
        return dict(source)
    module, name = getattr(source, "__module__", "") or "", getattr(source, "__qualname__", "<locals>")
    if "<locals>" in name or not _importable(module):
        raise ValueError(
            "a source for several processes must be a name, a URL, a mapping or an importable callable"
        )
    return {"callable": f"{module}:{name}"}


def _importable(module: str) -> bool:
    """Whether another process finds the module by its name, as it does not with modules that pytest loaded by path."""
    path = None
    for end in (i for i, char in enumerate(module + ".") if char == "."):
        spec = PathFinder.find_spec(module[:end], path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return bool(module)


def from_plain(plain: Any) -> Source:
    """The source that ``to_plain`` wrote."""
    if isinstance(plain, Mapping) and set(plain) == {"callable"}:
        module, _, name = plain["callable"].partition(":")
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        callable_source: Source = found
        return callable_source
    source: Source = plain
    return source
