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
    """Run one command; returns the exit status.

    What was asked for goes to stdout, remarks and errors, each of them one line, to stderr.
    """
    parser = argparse.ArgumentParser(
        prog="python -m oacp_storage_file", description="Upkeep of a FileStorage."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    backup = commands.add_parser(
        "backup", help="take a backup of a store, which may be in use; prints its path"
    )
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
        if given.command == "restore":
            _restore(given.backup, given.directory)
        elif given.command == "backups":
            _list(given.directory)
        else:
            _require_store(given.directory)
            if given.command == "backup":
                sys.stdout.write(f"{backup_directory(given.directory.absolute())}\n")
            else:
                _accept(given.directory.absolute())
    except StorageError as exc:
        return _failed(str(exc))
    except OSError as exc:
        return _failed(f"{exc.filename or given.directory}: {exc.strerror or exc}")
    except KeyboardInterrupt:
        _failed("interrupted")
        return 130
    return 0


def _restore(backup: Path, directory: Path) -> None:
    if not _is_store(backup):
        raise StorageError(f"there is no backup in {backup}: the command backups lists those of a store")
    asyncio.run(FileStorage.restore(backup, directory))
    sys.stdout.write(f"restored {backup} to {directory}\n")


def _list(directory: Path) -> None:
    # A store that lost its format.json is one to be restored, and may still have backups.
    found = list_backups(Layout(str(directory))) if directory.is_dir() else []
    if not found:
        _require_store(directory)
        sys.stderr.write(f"{directory} has no backups\n")
    sys.stdout.writelines(f"{path}\n" for path in found)


def _accept(directory: Path) -> None:
    found = accept_losses(directory)
    sys.stdout.writelines(f"{path}\n" for path in found)
    if not found:
        sys.stderr.write(f"nothing is missing in {directory}\n")


def _require_store(directory: Path) -> None:
    if not _is_store(directory):
        raise StorageError(f"there is no store in {directory}")


def _is_store(directory: Path) -> bool:
    return (directory / "format.json").exists()


def _failed(reason: str) -> int:
    sys.stderr.write(f"{' '.join(reason.split())}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
