"""Exporting: the interactions of a storage as JSON Lines, by agent in code-point order and then by sequence."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from oacp_storage.compression import compressed
from oacp_storage.damaged import Damages, undamaged
from oacp_storage.interchange import format_line
from oacp_storage_core import Storage

_PAGE = 200


@dataclass
class ExportSummary:
    """What was exported. ``damaged`` interactions cannot be read and were left out."""

    agents: int = 0
    interactions: int = 0
    damaged: Damages = field(default_factory=Damages)


async def export_lines(
    storage: Storage,
    target: BinaryIO,
    *,
    agents: Sequence[str] | None = None,
    progress: Callable[[ExportSummary], None] = lambda _: None,
) -> ExportSummary:
    """Write every interaction of these agents, by default of all, as a line of the interchange format.

    ``progress`` is called after each agent. An agent that is added while this runs may be missing.
    """
    summary = ExportSummary()
    names = all_agents(storage) if agents is None else _in_order(agents)
    async for agent_id in names:
        async for interaction in undamaged(storage.iter_interactions(agent_id), summary.damaged):
            target.write(format_line(interaction))
            summary.interactions += 1
        summary.agents += 1
        progress(summary)
    return summary


async def all_agents(storage: Storage, prefix: str = "") -> AsyncIterator[str]:
    """The names of all agents, in code-point order."""
    after: str | None = None
    while page := await storage.list_agents(prefix=prefix, after=after, limit=_PAGE):
        for agent_id in page:
            yield agent_id
        after = page[-1]


async def has_agent(storage: Storage, agent_id: str) -> bool:
    """Whether the storage lists an agent of exactly that name: with it as prefix, itself comes first."""
    return await storage.list_agents(prefix=agent_id, limit=1) == [agent_id]


async def _in_order(agents: Sequence[str]) -> AsyncIterator[str]:
    for agent_id in sorted(set(agents)):
        yield agent_id


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A stream to a temporary file beside ``path``, compressed as its name says, which takes its place at the end.

    On any failure the file that was there stays as it was. Only its owner may read it, like the stores it comes
    from. What is no regular file (a device, a pipe) is written to directly.
    """
    if (
        not path.exists() or path.is_file()
    ):  # a pipe, as /dev/stdout may be one, has no path to be resolved to
        path = path.resolve()
    else:
        with path.open("wb") as file, compressed(file, path) as stream:
            yield stream
        return
    try:
        descriptor, temporary = mkstemp(prefix=".oacp-storage-", suffix=".tmp", dir=path.parent)
    except OSError as exc:  # which names the temporary file
        raise OSError(exc.errno, exc.strerror, str(path)) from exc
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            with compressed(file, path) as stream:
                yield stream
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
