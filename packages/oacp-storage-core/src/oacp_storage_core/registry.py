"""The registry: backends by name, found by their entry points in the group ``oacp_storage.backends``.

First-party backends come in by the same door as everybody's. Only the backend that was asked for is imported.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from inspect import isclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

from oacp_storage_core.backend import INTERFACE_VERSIONS, StorageBackend
from oacp_storage_core.entry_points import BACKENDS, Installed, Offer, lookup, offers, unreadable
from oacp_storage_core.errors import BackendConflictError, BackendLoadError, BackendNotFoundError
from oacp_storage_core.near_miss import nearest
from oacp_storage_core.urls import redact_url

NAME = re.compile(r"[a-z][a-z0-9+.-]*")
"""What the name of a backend looks like; URL schemes are such names."""

_PIP = {
    "memory": "oacp-storage-core",
    "file": "oacp-storage-file",
    "sqlite": "oacp-storage-sqlite",
    "postgres": "oacp-storage-postgres",
    "postgresql": "oacp-storage-postgres",
    "redis": "oacp-storage-redis",
    "rediss": "oacp-storage-redis",
    "redis+cluster": "oacp-storage-redis",
    "redis+sentinel": "oacp-storage-redis",
    "redis+unix": "oacp-storage-redis",
    "mongo": "oacp-storage-mongo",
    "mongodb": "oacp-storage-mongo",
    "mongodb+srv": "oacp-storage-mongo",
}
"""For messages only: what to install for a name that nobody offers."""


_DATABASES = frozenset({".db", ".sqlite", ".sqlite3", ".db3"})
"""For messages only: how the names of database files end."""


class BackendInfo(NamedTuple):
    """An installed backend: all names of one target that can be looked up, or one name that cannot.

    ``problem`` says why it cannot be used, as far as that is known without importing it.
    """

    names: tuple[str, ...]
    target: str
    distribution: str
    version: str
    problem: str | None = None


class Found(NamedTuple):
    """A backend that was looked up and loaded, and how to speak of it in messages."""

    backend: type[StorageBackend]
    label: str


def load_backend(name: str) -> type[StorageBackend]:
    """The class of the backend of that name (in any case).

    Raises ``BackendNotFoundError`` when nothing installed offers it, ``BackendConflictError`` when two
    distributions do, and ``BackendLoadError`` when it cannot be imported, is not a ``StorageBackend``, or was
    made for an interface version that this core does not hold.
    """
    return find_backend(name).backend


def find_backend(name: str, configured: tuple[str, ...] = ()) -> Found:
    """As ``load_backend``, with a label; ``configured`` are storages that could have been meant by the name."""
    wanted = name.lower()
    found = lookup(BACKENDS, wanted) if NAME.fullmatch(wanted) else []
    if not found:
        _not_found(name, configured)
    if clash := _clash(found):
        raise BackendConflictError(
            f"the backend {wanted!r} is claimed twice: by {clash}; uninstall one of them "
            f"(pip uninstall {_strangest(found, wanted)}), or construct the class that you want yourself"
        )
    offer = found[0]
    label = f"backend {wanted!r} ({offer.target} of {offer.installed})"
    return Found(_checked(_load(offer, label), label, offer), label)


def available_backends() -> list[BackendInfo]:
    """All installed backends by name, broken ones included; nothing of them is imported.

    A name that cannot be looked up is listed by itself: the others of its target can be used all the same.
    """
    found = offers(BACKENDS, again=True)
    by_name: dict[str, list[Offer]] = {}
    groups: dict[tuple[Installed, str, str | None], list[str]] = {}
    for offer in found:
        by_name.setdefault(offer.name, []).append(offer)
    for installed, target, name in dict.fromkeys((one.installed, one.target, one.name) for one in found):
        problem = _name_problem(name, by_name[name])
        groups.setdefault((installed, target, problem), []).append(name)
    listed = [
        BackendInfo(
            tuple(names), target, installed.name, installed.version, problem or _target_problem(target)
        )
        for (installed, target, problem), names in groups.items()
    ]
    for one in unreadable():
        if one.ours:
            problem = f"its entry_points.txt cannot be read ({one.reason}); reinstall it"
            listed.append(BackendInfo((), "", one.installed.name, one.installed.version, problem))
    return sorted(listed, key=lambda info: (info.names, info.distribution))


def _strangest(found: list[Offer], name: str) -> str:
    """The distribution to do without: the last one that is not the first-party home of the name."""
    own = {_PIP.get(name), "oacp-storage-core"}
    names = [offer.installed.name for offer in found]
    return next((one for one in reversed(names) if one not in own), names[-1])


def _clash(found: list[Offer]) -> str:
    """The distributions and targets that share a name, or nothing when there is but one."""
    claims = sorted({f"{offer.installed} ({offer.target})" for offer in found})
    return " and ".join(claims) if len(claims) > 1 else ""


def _not_found(name: str, configured: tuple[str, ...]) -> NoReturn:
    wanted = name.lower()
    shown = repr(wanted if NAME.fullmatch(wanted) else redact_url(name))
    installed = {offer.name for offer in offers(BACKENDS) if NAME.fullmatch(offer.name)}
    meant = nearest(wanted, {*installed, *_PIP, *configured})
    pip = _PIP.get(wanted) or (_PIP.get(meant) if meant is not None and meant not in installed else None)
    hint = f" (did you mean {meant!r}?)" if meant not in (None, wanted) else ""
    message = [f"no installed backend is called {shown}{hint}"]
    if configured:
        message[0] += f", and no storage in oacp.toml (it has {', '.join(sorted(configured))})"
    if not NAME.fullmatch(wanted):
        message.append("a name is of letters, digits, + . and -, and a URL has ://")
    if example := _as_url(name):
        message.append(f"the path of a store is given in a URL: {example}")
    if pip is not None:
        message.append(f"install it with: pip install {pip}")
    message.append(f"installed are: {', '.join(sorted(installed)) or 'none'}")
    broken = [f"{one.installed.name} ({one.reason})" for one in unreadable()]
    if broken:
        message.append(f"not looked at, because their entry_points.txt cannot be read: {', '.join(broken)}")
    raise BackendNotFoundError("; ".join(message))


def _as_url(name: str) -> str:
    """For a name that looks like a path: the URL that was probably meant."""
    path = PurePath(name)
    if "@" in name or redact_url(name) != name:  # rather a URL without its scheme, with a password in it
        return ""
    if not path.name or not ("/" in name or os.sep in name or path.suffix.lower() in _DATABASES):
        return ""
    if path.suffix.lower() in _DATABASES:
        return f"sqlite:///{quote(path.as_posix(), safe='/:')}"
    return f"file://{quote(Path(path).expanduser().absolute().as_posix(), safe='/:')}"


def _load(offer: Offer, label: str) -> Any:
    try:
        return offer.load()
    except (Exception, SystemExit) as exc:
        raise BackendLoadError(
            f"{label} is installed but cannot be imported: {type(exc).__name__}: {exc}; reinstall it with what "
            f"it needs: pip install --force-reinstall {offer.installed.name}"
        ) from exc


def _checked(loaded: Any, label: str, offer: Offer) -> type[StorageBackend]:
    if not isclass(loaded) or not issubclass(loaded, StorageBackend):
        what = f"the class {loaded.__qualname__}" if isclass(loaded) else f"of type {type(loaded).__name__}"
        raise BackendLoadError(
            f"{label} is not a StorageBackend but {what}; it must derive from "
            f"oacp_storage_core.StorageBackend: tell the authors of {offer.installed.name}"
        )
    version: Any = loaded.interface_version
    if version not in INTERFACE_VERSIONS:
        newest = INTERFACE_VERSIONS[-1]
        newer = isinstance(version, int) and version > newest
        upgrade = "oacp-storage-core" if newer else offer.installed.name
        raise BackendLoadError(
            f"{label} was made for version {version!r} of the interface; this oacp-storage-core holds "
            f"{INTERFACE_VERSIONS[0]} to {newest}: pip install --upgrade {upgrade}"
        )
    if missing := sorted(loaded.__abstractmethods__):  # of this version, so the version is judged before
        raise BackendLoadError(
            f"{label} is not a complete StorageBackend: it lacks {', '.join(missing)}; tell the authors of "
            f"{offer.installed.name}"
        )
    return loaded


def _name_problem(name: str, claims: list[Offer]) -> str | None:
    if not NAME.fullmatch(name):
        return f"the name {name!r} cannot be looked up: it must match {NAME.pattern}"
    if clash := _clash(claims):
        return f"the name {name!r} is claimed twice: by {clash}"
    return None


def _target_problem(target: str) -> str | None:
    """What is wrong with a target, as far as can be said without importing anything."""
    module, _, attribute = target.partition(":")
    if not attribute or not all(part.isidentifier() for part in module.strip().split(".")):
        return f"the target {target!r} is not of the form module:Class"
    top = module.strip().partition(".")[0]
    try:
        there = find_spec(top) is not None
    except ValueError:  # imported already, by something that left no spec
        there = True
    return None if there else f"the module {top!r} is not there; reinstall it"
