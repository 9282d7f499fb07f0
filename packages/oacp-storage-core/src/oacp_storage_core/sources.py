"""Sources: the ways to say which storage is meant, all brought into one form.

====================================  ==================================================================
a mapping                             ``{"backend": "sqlite", ...}`` or ``{"url": "...", ...}``
text with ``://``                     a URL; its scheme is the backend's name
text that ends in ``.toml``, a path   the default storage of that file
the name of a configured storage      its table in the nearest ``oacp.toml`` upwards
any other text                        the name of a backend
nothing                               ``OACP_STORAGE_URI``, else the default of the nearest ``oacp.toml``
====================================  ==================================================================

With ``backend`` all other keys but ``wrappers`` are options of the class; with ``url`` they are options beside
those in its query. A keyword given in the call replaces a key of the mapping or file, never one in a query.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oacp_storage_core.errors import StorageConfigError
from oacp_storage_core.options import Given
from oacp_storage_core.toml_file import ConfigFile, FilledIn, find_config, read_config
from oacp_storage_core.urls import split_url

ENVIRONMENT_VARIABLE = "OACP_STORAGE_URI"

Source = str | os.PathLike[str] | Mapping[str, Any]
"""What ``create_storage`` and ``open_storage`` take."""


class WrapperSettings(NamedTuple):
    """An entry of ``wrappers``: the wrapper's name, and what else its table says."""

    name: str
    settings: Mapping[str, Any]


class Resolved(NamedTuple):
    """Which storage is meant: a backend by name, with a URL or without, its options and wrappers.

    ``name`` is that of a configured storage; ``configured`` are those that a backend's name could have
    meant; ``directory`` is that of the configuration file; ``where`` begins messages.
    """

    backend: str
    url: str | None
    options: Mapping[str, Given]
    wrappers: tuple[WrapperSettings, ...]
    name: str | None = None
    configured: tuple[str, ...] = ()
    directory: Path | None = None
    where: str = ""


def resolve(source: Source | None, options: Mapping[str, Any]) -> Resolved:
    """The storage that a source and the keywords of a call mean; ``StorageConfigError`` for a faulty source."""
    keywords = dict(options)
    wrappers = keywords.pop("wrappers", None)
    resolved = _from_nothing() if source is None else _from_source(source)
    given = {**resolved.options, **{key: Given(value) for key, value in keywords.items()}}
    resolved = resolved._replace(options=given)
    return resolved if wrappers is None else resolved._replace(wrappers=_wrappers(wrappers, resolved.where))


def _from_source(source: Source) -> Resolved:
    if isinstance(source, Mapping):
        plain = {key: FilledIn(value, changed=False) for key, value in source.items()}
        return _from_table(plain, where="the mapping")
    if isinstance(source, os.PathLike):
        return _from_file(read_config(Path(source)))
    if not isinstance(source, str):
        raise TypeError(f"a storage is named by a str, a path or a mapping, not by {type(source).__name__}")
    if "://" in source:
        return Resolved(split_url(source).scheme, source, {}, ())
    if source.endswith(".toml"):
        return _from_file(read_config(Path(source)))
    if not source.strip():
        raise StorageConfigError(
            "the name of the storage is empty; name a backend, a URL or a configured storage"
        )
    path = find_config()
    if path is None:
        return Resolved(source, None, {}, ())
    config = read_config(path)
    if source in config.storages:
        return _from_file(config, source)
    return Resolved(source, None, {}, (), configured=tuple(config.storages))


def _from_nothing() -> Resolved:
    if uri := os.environ.get(ENVIRONMENT_VARIABLE):
        try:
            resolved = _from_source(uri)
        except StorageConfigError as exc:
            raise StorageConfigError(f"{ENVIRONMENT_VARIABLE}: {exc}") from exc.__cause__
        return resolved._replace(where=resolved.where or ENVIRONMENT_VARIABLE)
    path = find_config()
    if path is not None:
        return _from_file(read_config(path))
    raise StorageConfigError(
        f"no storage is configured: {ENVIRONMENT_VARIABLE} is not set, and there is no oacp.toml in {Path.cwd()} "
        f"or above it; set {ENVIRONMENT_VARIABLE}=sqlite:///oacp.db, or write an oacp.toml with\n"
        '[storage.main]\nbackend = "sqlite"'
    )


def _from_file(config: ConfigFile, name: str | None = None) -> Resolved:
    if name is None:
        name = config.default_name()
    resolved = _from_table(config.table(name), config.where(name), config.path.parent)
    return resolved._replace(name=name)


def _from_table(table: Mapping[str, FilledIn], where: str, directory: Path | None = None) -> Resolved:
    for key in table:
        if not isinstance(key, str):
            raise StorageConfigError(f"{where}: the key {key!r} is not a str")
    rest = dict(table)
    wrappers = _wrappers(rest.pop("wrappers", FilledIn((), changed=False)).value, where)
    if "backend" in rest:  # then url, too, is an option of the class, should it have one
        backend, url = _text(rest.pop("backend"), "backend", where), None
    elif "url" in rest:
        url = _text(rest.pop("url"), "url", where)
        backend = _scheme(url, where)
    else:
        raise StorageConfigError(f'{where}: needs backend = "..." or url = "..."')
    options = {
        key: Given(one.value, text=one.changed, directory=directory, filled_in=one.changed)
        for key, one in rest.items()
    }
    return Resolved(backend, url, options, wrappers, directory=directory, where=where)


def _text(one: FilledIn, key: str, where: str) -> str:
    if not isinstance(one.value, str) or not one.value.strip():
        kind = "empty" if one.value == "" else f"of type {type(one.value).__name__}"
        raise StorageConfigError(f"{where}: {key} must be a text, it is {kind}")
    return one.value


def _scheme(url: str, where: str) -> str:
    try:
        return split_url(url).scheme
    except StorageConfigError as exc:
        raise StorageConfigError(f"{where}: {exc}") from None


def _wrappers(entries: object, where: str) -> tuple[WrapperSettings, ...]:
    prefix = f"{where}: " if where else ""
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise StorageConfigError(
            f'{prefix}wrappers must be a list of names or tables, as in ["redact", {{ name = "encrypt" }}], '
            f"not {type(entries).__name__}"
        )
    return tuple(_wrapper(entry, prefix) for entry in entries)


def _wrapper(entry: object, prefix: str) -> WrapperSettings:
    if isinstance(entry, str) and entry:
        return WrapperSettings(entry, {})
    if isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and entry["name"]:
        return WrapperSettings(entry["name"], {key: value for key, value in entry.items() if key != "name"})
    raise StorageConfigError(
        f"{prefix}an entry of wrappers is a name or a table with a name, not {type(entry).__name__}"
        + (" without one" if isinstance(entry, Mapping) else "")
    )
