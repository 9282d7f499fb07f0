"""Real traffic: a file of JSON Lines, ``{"agent_id": ..., "interaction": {...}}``, plain or compressed by gzip."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from oacp_storage_core import StorageConfigError


class Traffic(NamedTuple):
    """Interactions in the order of the file, and their size as JSON in bytes."""

    name: str
    lines: list[tuple[str, dict[str, Any]]]
    size: int


def read_traffic(path: Path, at_most: int) -> Traffic:
    """The first lines of the file; ``StorageConfigError`` names a line that is no interaction."""
    lines, size = [], 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(islice(file, at_most), 1):
                found = _interaction(line)
                if found is None:
                    raise StorageConfigError(
                        f'{path}, line {number}: not {{"agent_id": ..., "interaction": {{...}}}}'
                    )
                lines.append(found)
                size += len(line)
    except (OSError, EOFError) as exc:
        raise StorageConfigError(f"{path} cannot be read: {exc}") from exc
    if not lines:
        raise StorageConfigError(f"{path} has no lines to replay")
    return Traffic(path.name, lines, size)


def _interaction(line: bytes) -> tuple[str, dict[str, Any]] | None:
    try:
        found = msgspec.json.decode(line)
        agent, interaction = found["agent_id"], found["interaction"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return (agent, interaction) if isinstance(agent, str) and isinstance(interaction, dict) else None
