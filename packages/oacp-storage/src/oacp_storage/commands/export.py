"""``oacp-storage export``: the interactions of a storage as JSON Lines."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

from cyclopts import Parameter

from oacp_storage.existing import open_existing
from oacp_storage.exits import Status, Stop
from oacp_storage.exporting import ExportSummary, export_lines, has_agent, replaced
from oacp_storage.interchange import MalformedLineError, parse_line
from oacp_storage.lines import open_input
from oacp_storage.parameters import STREAM, StorageArgument
from oacp_storage.screen import counted, progress_bar, tell_of_damage
from oacp_storage_core import Storage


def export(
    storage: StorageArgument = None,
    file: Annotated[
        str,
        STREAM,
        Parameter(
            name="--to",
            help="The file to write, compressed if it ends in .gz or .zst; - is stdout.",
            show_default=True,
        ),
    ] = "-",
    *,
    agent: Annotated[
        list[str] | None,
        Parameter(negative=(), help="Only this agent; may be given several times."),
    ] = None,
    force: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="Replace a file, too, that is no export."),
    ] = False,
) -> int:
    """Write the interactions of a storage to a file of JSON Lines.

    One interaction a line, with id and timestamp, by agent in code-point order and then by sequence: what
    `oacp-storage import` reads. The file appears when it is complete; until then one of that name stays as it is.
    A file that is no export is not replaced.
    """
    if file == "/dev/stdout":  # replacing what is behind it would lose what a shell's >> is to keep
        file = "-"
    if file != "-" and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise Stop(f"{file} cannot be written: it is a directory, or lies in none", Status.USAGE)
    if file != "-" and not force and Path(file).is_file() and not _is_export(file):
        raise Stop(
            f"{file} is there already and is no export; nothing was written: name another file, or replace it with "
            "--force",
            Status.USAGE,
        )
    summary = asyncio.run(_export(storage, file, agent))
    tell_of_damage(summary.damaged)
    sys.stderr.write(
        f"{counted(summary.interactions, 'interaction')} of {counted(summary.agents, 'agent')}"
        + (f" written to {file}\n" if file != "-" else "\n")
    )
    return Status.FOUND if summary.damaged.count else Status.OK


def _is_export(file: str) -> bool:
    """Whether a file is empty or begins with an interaction in the interchange format."""
    try:
        with open_input(file) as source:
            line = next(source.lines(), None)
        return line is None or bool(parse_line(line, source.modified))
    except (Stop, MalformedLineError):
        return False


async def _export(source: str | None, file: str, agents: list[str] | None) -> ExportSummary:
    async with open_existing(source) as storage:
        for agent_id in agents or ():
            if not await has_agent(storage, agent_id):
                raise Stop(f"the storage has no agent {agent_id!r}; nothing was written", Status.USAGE)
        if file == "-":
            summary = await _write(storage, sys.stdout.buffer, agents)
            sys.stdout.buffer.flush()
            return summary
        with replaced(Path(file)) as stream:
            return await _write(storage, stream, agents)


async def _write(storage: Storage, stream: BinaryIO, agents: list[str] | None) -> ExportSummary:
    with progress_bar() as show:
        return await export_lines(
            storage,
            stream,
            agents=agents,
            progress=lambda summary: show(summary.interactions, counted(summary.agents, "agent")),
        )
