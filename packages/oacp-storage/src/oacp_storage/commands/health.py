"""``oacp-storage health``: the condition of a storage."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from oacp_storage.existing import require_store
from oacp_storage.exits import Status
from oacp_storage.failures import SEE_CAUSE, describe
from oacp_storage.parameters import AsJson, StorageArgument
from oacp_storage.screen import print_table, table, visible
from oacp_storage_core import Health, Storage, StorageError, create_storage
from oacp_storage_core.sources import ENVIRONMENT_VARIABLE, resolve
from oacp_storage_core.toml_file import find_config


def health(storage: StorageArgument = None, *, as_json: AsJson = False) -> int:
    """Report the condition of a storage.

    Whether it answers and how fast, its versions, what acknowledged data survives, and warnings. The exit status
    is 1 when it does not answer.
    """
    found = asyncio.run(_health(storage))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return Status.OK if found.ok else Status.FOUND
    rows = table("", "")
    rows.show_header = False
    rows.add_row("storage", found.backend)
    rows.add_row("condition", "ok" if found.ok else "not ok")
    if found.error is not None:
        rows.add_row("error", visible(" ".join(found.error.split())))
    if found.ok:
        rows.add_row("survives", _SURVIVES[found.durability])
    if found.latency is not None:
        rows.add_row("latency", f"{found.latency * 1000:.1f} ms")
    if found.server_version is not None:
        rows.add_row("server", visible(found.server_version))
    if found.schema_version is not None:
        rows.add_row("schema", f"version {found.schema_version}")
    for warning in found.warnings:
        rows.add_row("warning", visible(warning))
    print_table(rows)
    return Status.OK if found.ok else Status.FOUND


_SURVIVES = {
    "power-cut": "a power cut",
    "crash": "the death of the process, but not a power cut",
    "none": "nothing: the data goes with the process",
    "unknown": "unknown",
}


async def _explained(storage: Storage, error: str, source: str | None) -> str:
    """The error with its cause, which only the exception has: opening fails in the same way, or not any more."""
    try:
        await storage.open()
    except StorageError as exc:
        return describe(exc, [source] if source else [])[0]
    return error.removesuffix(SEE_CAUSE)


async def _health(source: str | None) -> Health:
    """Not by ``open_storage``, which raises when the storage does not answer."""
    chosen = source or os.environ.get(ENVIRONMENT_VARIABLE) or find_config()
    if chosen is None:
        resolve(None, {})  # raises, and says what could be configured
        raise AssertionError("nothing is configured, yet something was found")
    storage = create_storage(chosen)
    try:
        await require_store(storage)
        found = await storage.health()
        if found.error is not None and SEE_CAUSE in found.error:
            found = msgspec.structs.replace(found, error=await _explained(storage, found.error, source))
        return found
    finally:
        await storage.close()
