"""The ``oacp-storage`` command: its list of commands, and how every failure becomes one line and a status.

Commands are registered by their import path, so that ``--help`` imports none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oacp_storage.exits import Status, Stop

if TYPE_CHECKING:
    from cyclopts import App

TRACEBACK = "OACP_STORAGE_TRACEBACK"
"""Environment variable: when set, a failure shows its traceback before its one line."""

COMMANDS = {
    "demo": "Watch a team of agents lose its process and go on where it was.",
    "backends": "List the storage backends that are installed.",
    "import": "Bring interactions from a file of JSON Lines into a storage.",
    "export": "Write the interactions of a storage to a file of JSON Lines.",
    "copy": "Copy everything from one storage to another.",
    "compare": "Compare two storages record by record.",
    "agents": "List the agents of a storage.",
    "show": "Show an agent: its newest interactions, state and learning data.",
    "health": "Report the condition of a storage.",
    "verify": "Read everything in a storage and report damage.",
}
"""Our own commands, in the order of ``--help``; each is a function of that name in ``oacp_storage.commands``."""

_MODULES = {"import": "import_"}

_ELSEWHERE = ("bench", "conformance")
"""Commands of our own packages that are installed by themselves, as oacp-storage-NAME."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (by default those of the process) and return its exit status."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    try:
        return _run(tokens)
    except KeyboardInterrupt:
        return _fail("interrupted", Status.INTERRUPTED, tokens)
    except BrokenPipeError:
        # Python would flush stdout once more at its exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.BROKEN_PIPE
    except Stop as stop:
        return _fail(str(stop), stop.status, tokens)
    except Exception as exc:  # noqa: BLE001 - the last place that can turn a failure into one line
        from oacp_storage.failures import describe

        return _fail(*describe(exc, tokens), tokens)


def _open_closed_streams() -> None:
    """Give each standard stream that was closed, as by ``>&-``, the null device.

    Writing to it would be an error that nobody understands, and a file of a storage could get its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - for as long as we run


def _run(tokens: list[str]) -> int:
    app = make_app(tokens[0] if tokens else None)
    if not tokens:
        tokens = ["--help"]
    result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    sys.stdout.flush()
    return result if isinstance(result, int) else Status.OK


def make_app(invoked: str | None = None) -> App:
    """The Cyclopts app. Of the commands of other packages, only the one that is ``invoked`` is loaded."""
    from cyclopts import App

    from oacp_storage.plugin_commands import add_plugin_commands
    from oacp_storage_core.near_miss import did_you_mean

    app = App(
        name="oacp-storage",
        help="Durable memory for AI agents. STORAGE is a URL (sqlite:///agents.db), a storage named in oacp.toml, "
        "or a backend; without it, OACP_STORAGE_URI or the default of the nearest oacp.toml counts.",
        help_format="plaintext",
        version=_version,
        suppress_keyboard_interrupt=False,
    )
    for place, (name, summary) in enumerate(COMMANDS.items()):
        module = _MODULES.get(name, name)
        path = f"oacp_storage.commands.{module}:{module}"
        app.command(path, name=name, help=summary, sort_key=place)
    others = add_plugin_commands(app, invoked)
    if invoked is not None and not invoked.startswith("-") and invoked not in app:
        # Cyclopts would load every command to suggest one.
        if invoked in _ELSEWHERE:
            raise Stop(
                f"there is no command {invoked!r}; install it with: pip install oacp-storage-{invoked}",
                Status.USAGE,
            )
        raise Stop(
            f"there is no command {invoked!r}{did_you_mean(invoked, [*COMMANDS, *others])}", Status.USAGE
        )
    return app


def _version() -> str:
    from importlib.metadata import version

    return version("oacp-storage")


def _fail(message: str, status: Status, tokens: Sequence[str]) -> Status:
    """One line on stderr, whatever the message looks like, and without passwords of the command line."""
    from oacp_storage.failures import without_secrets

    if os.environ.get(TRACEBACK) and sys.exc_info()[0] is not None:
        import traceback

        from oacp_storage.hiding import secrets_in_reach

        shown = without_secrets(traceback.format_exc(), tokens)
        sys.stderr.write(secrets_in_reach(tokens).mask(shown))
    line = without_secrets(" ".join(message.split()), tokens)
    sys.stderr.write(f"oacp-storage: {line}\n")
    return status
