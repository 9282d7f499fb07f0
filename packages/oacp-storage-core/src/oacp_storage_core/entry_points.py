"""The guarded scan of installed distributions for entry points of ours, which imports none of them.

One distribution with an unreadable ``entry_points.txt`` must not stop the lookup of all others, so each is read
in its own ``try``. The scan is done once, and again when a name is not found (it may have been installed since).
The metadata of a distribution (name, version) is read only where it is asked for: parsing it costs several times
as much as its entry points.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

PREFIX = "oacp_storage."
"""What the names of our entry-point groups begin with."""

BACKENDS = "oacp_storage.backends"
HOOKS = "oacp_storage.hooks"

_FIELD = re.compile(r"^(Name|Version):[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)

_log = logging.getLogger("oacp_storage.entry_points")


class Installed:
    """An installed distribution; its name and version are read at first use."""

    def __init__(self, distribution: Any) -> None:
        self._distribution = distribution
        self._identity: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """The name as published; a description of where it lies when its metadata has none."""
        return self._read()[0]

    @property
    def version(self) -> str:
        """The version, or ``unknown``."""
        return self._read()[1]

    @property
    def key(self) -> str:
        """The name normalised: equal for all spellings of one distribution."""
        return re.sub(r"[-_.]+", "-", self.name).lower()

    def is_shadowed(self) -> bool:
        """Whether a distribution of the same name stands before this one on ``sys.path``."""
        import importlib_metadata

        try:
            first = importlib_metadata.distribution(self.name)
            return str(first.locate_file("")) != str(self._distribution.locate_file(""))
        except Exception:  # noqa: BLE001 - a foreign finder's failure hides nothing
            return False

    def _read(self) -> tuple[str, str]:
        if self._identity is None:
            name = version = None
            try:
                name, version = _name_and_version(self._distribution)
            except Exception:  # noqa: BLE001 - broken metadata must not hide the distribution
                _log.debug("unreadable metadata: %s", self._distribution, exc_info=True)
            self._identity = (name or self._place(), version or "unknown")
        return self._identity

    def _place(self) -> str:
        try:
            return f"(a distribution without a name in {self._distribution.locate_file('')})"
        except Exception:  # noqa: BLE001 - as above
            return "(a distribution without a name)"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Offer(NamedTuple):
    """An entry point: what a distribution offers under a name of a group. Nothing is imported before ``load``."""

    group: str
    name: str
    target: str
    installed: Installed
    load: Callable[[], Any]


class Unreadable(NamedTuple):
    """A distribution whose entry points cannot be read; ``ours`` when it mentions a group of ours."""

    installed: Installed
    reason: str
    ours: bool


class Scan(NamedTuple):
    """What one scan found, in the order of ``sys.path``."""

    offers: tuple[Offer, ...]
    unreadable: tuple[Unreadable, ...]


_last: Scan | None = None


def scan(*, again: bool = False) -> Scan:
    """The last scan, or a new one."""
    global _last  # noqa: PLW0603 - installed distributions are a fact of the process
    if _last is None or again:
        from importlib import invalidate_caches

        invalidate_caches()  # what was installed since is to be seen, and then imported
        _last = _scan()
    return _last


def offers(group: str, *, again: bool = False) -> list[Offer]:
    """All entry points of the group; where distributions share a name, those of the first on ``sys.path``."""
    return _unshadowed([offer for offer in scan(again=again).offers if offer.group == group])


def unreadable() -> list[Unreadable]:
    """The distributions whose entry points cannot be read, each once, as the last scan found them."""
    first: dict[str, Unreadable] = {}
    for one in scan().unreadable:
        if not one.installed.is_shadowed():
            first.setdefault(one.installed.key, one)
    return list(first.values())


def lookup(group: str, name: str) -> list[Offer]:
    """The entry points of that name: none, one, or those of several distributions that claim it."""
    return _named(group, name, again=False) or _named(group, name, again=True)


def _named(group: str, name: str, *, again: bool) -> list[Offer]:
    return _unshadowed(
        [offer for offer in scan(again=again).offers if offer.group == group and offer.name == name]
    )


def _unshadowed(found: list[Offer]) -> list[Offer]:
    first: dict[str, Installed] = {}
    kept = []
    for offer in found:
        installed = offer.installed
        if installed.key not in first and not installed.is_shadowed():
            first[installed.key] = installed
        if first.get(installed.key) is installed:
            kept.append(offer)
    return kept


def _scan() -> Scan:
    found: list[Offer] = []
    broken: list[Unreadable] = []
    for distribution in _distributions():
        installed = Installed(distribution)
        try:
            entry_points = [point for point in distribution.entry_points if point.group.startswith(PREFIX)]
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with it, the others are still looked at
            broken.append(Unreadable(installed, f"{type(exc).__name__}: {exc}", _mentions_us(distribution)))
            _log.debug("unreadable entry points: %s", installed, exc_info=True)
        else:
            found.extend(_offer(point, installed) for point in entry_points)
    return Scan(tuple(found), tuple(broken))


def _distributions() -> Iterator[Any]:
    import importlib_metadata

    found = iter(importlib_metadata.distributions())
    while True:
        try:
            distribution = next(found)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - a finder of somebody else's; what came before it counts
            _log.warning("the search for installed distributions ended early", exc_info=True)
            return
        yield distribution


def _name_and_version(distribution: Any) -> tuple[str | None, str | None]:
    # Its metadata is parsed with the whole description at each access: listing 200 would take twice as long.
    fields = dict(_FIELD.findall((distribution.read_text("METADATA") or "").partition("\n\n")[0]))
    if "Name" in fields and "Version" in fields:
        return fields["Name"], fields["Version"]
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


def _offer(point: EntryPoint, installed: Installed) -> Offer:
    return Offer(point.group, point.name, point.value, installed, point.load)


def _mentions_us(distribution: Any) -> bool:
    try:
        return PREFIX in (distribution.read_text("entry_points.txt") or "")
    except Exception:  # noqa: BLE001 - unreadable: then nobody can say
        return False
