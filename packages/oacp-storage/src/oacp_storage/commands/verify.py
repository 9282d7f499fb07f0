"""``oacp-storage verify``: read everything and report damage."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext

import msgspec

from oacp_storage.existing import open_existing
from oacp_storage.exits import Status
from oacp_storage.parameters import AsJson, StorageArgument
from oacp_storage.screen import stderr, visible
from oacp_storage_core import Damage


def verify(storage: StorageArgument = None, *, as_json: AsJson = False) -> int:
    """Read everything in a storage and report damage.

    Whatever is not as it was written is named, with agent and sequence or key. The exit status is 1 when
    anything is damaged.
    """
    damaged = asyncio.run(_verify(storage, as_json))
    if not as_json:
        sys.stdout.write(f"{damaged:,} damaged\n" if damaged else "no damage found\n")
    return Status.FOUND if damaged else Status.OK


async def _verify(source: str | None, as_json: bool) -> int:
    damaged = 0
    async with open_existing(source) as storage:
        console = stderr()
        with console.status("reading everything") if console.is_terminal else nullcontext():
            async for damage in storage.verify():
                damaged += 1
                line = msgspec.json.encode(damage).decode() if as_json else _in_words(damage)
                sys.stdout.write(f"{line}\n")
    return damaged


def _in_words(damage: Damage) -> str:
    parts = [damage.kind.replace("_", " ")]
    if damage.agent_id is not None:
        parts.append(f"of agent {damage.agent_id!r}")
    if damage.sequence is not None:
        parts.append(f"sequence {damage.sequence}")
    if damage.key:
        parts.append(f"key {damage.key!r}")
    return f"{', '.join(parts)}: {visible(damage.reason)}"
