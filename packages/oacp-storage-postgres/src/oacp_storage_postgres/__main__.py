"""``python -m oacp_storage_postgres COMMAND [URL]``: what the owner of the database does once.

- ``schema``: create or upgrade the tables, so that roles without the right to do so can work afterwards.
- ``partition``: turn a filled store into one partitioned by month; readers and writers wait for it. Where it is
  partitioned, the partitions of this month and the next are created.
- ``index``: create the index of enable_json_indexing. Writers go on meanwhile, unless the store is partitioned.
- ``sql``: print the statements that make the schema, for those who run such things by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from oacp_storage_core import StorageConfigError, StorageError, redact_url
from oacp_storage_postgres.dsn import dsn_settings
from oacp_storage_postgres.schema import make_partitioned, make_projection_index, prepare, whole_schema
from oacp_storage_postgres.storage import MISSING_DRIVER

_DONE = {
    "schema": "the tables are there, in the schema of this release",
    "partition": "the interactions are partitioned by month, and the partitions of this month and the next are there",
    "index": "the index of enable_json_indexing is there",
}
_COMMANDS = (*_DONE, "sql")


async def run(command: str, url: str) -> None:
    """Do it, on a connection of its own; what goes wrong is a ``StorageError``."""
    try:
        import asyncpg
    except ModuleNotFoundError as exc:
        raise StorageConfigError(MISSING_DRIVER) from exc
    from oacp_storage_postgres.errors import DRIVER_ERRORS, connecting, executing

    settings = dsn_settings(url, "the URL", writing=True)
    try:
        connection = await asyncpg.connect(**settings)
    except (*DRIVER_ERRORS, ValueError) as exc:
        raise connecting(exc, redact_url(url)) from None
    try:
        await prepare(connection, json_indexing=False, partition=False)
        if command == "partition":
            await make_partitioned(connection)
        elif command == "index":
            await make_projection_index(connection)
    except DRIVER_ERRORS as exc:
        raise executing(exc, maybe_applied=False) from exc
    finally:
        await connection.close()


def main(arguments: list[str] | None = None) -> int:
    """The command line; an error is one line and exit status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m oacp_storage_postgres",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Not choices=: what stands in the wrong place may be the URL, and argparse would show it with its password.
    parser.add_argument("command", help=", ".join(_COMMANDS))
    parser.add_argument(
        "url", nargs="?", help="postgresql://owner:password@host/database; not needed for sql"
    )
    given, left = parser.parse_known_args(arguments)
    if given.command not in _COMMANDS or left:
        parser.error(f"give one of the commands {', '.join(_COMMANDS)}, and a URL after it")
    if given.command == "sql":
        sys.stdout.write(whole_schema())
        return 0
    if given.url is None:
        parser.error(f"{given.command} needs a URL")
    try:
        asyncio.run(run(given.command, given.url))
    except StorageError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    sys.stdout.write(f"{_DONE[given.command]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
