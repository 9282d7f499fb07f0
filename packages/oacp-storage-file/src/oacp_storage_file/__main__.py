"""``python -m oacp_storage_file``: backups of a store, and losses accepted."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from oacp_storage_core import StorageError
from oacp_storage_file.backups import list_backups
from oacp_storage_file.layout import Layout
from oacp_storage_file.storage import FileStorage, accept_losses, backup_directory


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors are one line."""
    parser = argparse.ArgumentParser(
        prog="python -m oacp_storage_file", description="Upkeep of a FileStorage."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    backup = commands.add_parser("backup", help="take a backup of a store, which may be in use")
    backup.add_argument("directory", type=Path)
    listed = commands.add_parser("backups", help="list a store's backups, oldest first")
    listed.add_argument("directory", type=Path)
    restore = commands.add_parser("restore", help="copy a backup into a new directory")
    restore.add_argument("backup", type=Path)
    restore.add_argument("directory", type=Path)
    accept = commands.add_parser(
        "accept", help="no longer miss files that were removed by hand; prints the directories concerned"
    )
    accept.add_argument("directory", type=Path)
    given = parser.parse_args(arguments)
    try:
        if given.command in ("backup", "accept") and not (given.directory / "format.json").exists():
            raise StorageError(f"there is no store in {given.directory}")
        if given.command == "backup":
            sys.stdout.write(f"{backup_directory(given.directory.absolute())}\n")
        elif given.command == "accept":
            sys.stdout.writelines(f"{path}\n" for path in accept_losses(given.directory.absolute()))
        elif given.command == "backups":
            sys.stdout.writelines(f"{path}\n" for path in list_backups(Layout(str(given.directory))))
        else:
            asyncio.run(FileStorage.restore(given.backup, given.directory))
    except StorageError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
