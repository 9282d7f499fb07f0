"""Commands of other packages: entry points of the group ``oacp_storage.commands``, name to Cyclopts app.

They are listed without being imported; only the one that is invoked is loaded, and a broken one is one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oacp_storage.exits import Status, Stop

if TYPE_CHECKING:
    from cyclopts import App

    from oacp_storage_core.entry_points import Offer

GROUP = "oacp_storage.commands"


def add_plugin_commands(app: App, invoked: str | None) -> list[str]:
    """Add the commands of installed packages to the app and return their names; our own keep theirs."""
    from cyclopts import Group

    from oacp_storage_core.entry_points import offers

    claims: dict[str, list[Offer]] = {}
    for offer in offers(GROUP):
        claims.setdefault(offer.name, []).append(offer)
    group = Group.create_ordered("Commands of other packages")
    for name in sorted(claims):
        offer = claims[name][0]
        if name in app or name.startswith("-"):
            continue
        if name == invoked:
            app.command(_load(name, claims[name]), name=name)
        else:
            summary = f"From {', '.join(str(claim.installed) for claim in claims[name])}."
            app.command(offer.target, name=name, help=summary, group=group)
    return list(claims)


def _load(name: str, claims: list[Offer]) -> App:
    from cyclopts import App

    offer = claims[0]
    if len(claims) > 1:
        named = " and ".join(str(claim.installed) for claim in claims)
        raise Stop(f"the command {name!r} is claimed twice: by {named}; uninstall one of them", Status.USAGE)
    label = f"the command {name!r} ({offer.target} of {offer.installed})"
    try:
        loaded = offer.load()
    except (Exception, SystemExit) as exc:
        raise Stop(
            f"{label} is installed but cannot be loaded: {type(exc).__name__}: {exc}; reinstall it with what it "
            f"needs: pip install --force-reinstall {offer.installed.name}",
            Status.USAGE,
        ) from exc
    if not isinstance(loaded, App):
        raise Stop(
            f"{label} is not a Cyclopts App but a {type(loaded).__name__}; tell its authors", Status.USAGE
        )
    return loaded
