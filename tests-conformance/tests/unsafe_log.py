"""Backends over one plain file that several processes share, each wrong in its own way; and one that is right."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from oacp_storage_core import StorageBackend


class FileLog(StorageBackend):
    """Right: appends whole lines under a lock, with fsync."""

    def __init__(self) -> None:
        self.path = Path(os.environ["UNSAFE_LOG"])

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        self._write([[agent_id, interaction]])
        await asyncio.sleep(0.002)
        return "-"

    def _write(self, rows: list[Any]) -> None:
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))

    def _rows(self) -> list[Any]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_bytes().split(b"\n") if line.strip()]

    async def get_interactions(self, agent_id: str, limit: int = 100) -> list[dict[str, Any]]:
        return [row[1] for row in self._rows() if row[0] == agent_id][-limit:]

    async def store_agent_state(self, agent_id: str, state: dict[str, Any]) -> None:
        raise NotImplementedError

    async def get_agent_state(self, agent_id: str) -> dict[str, Any] | None:
        raise NotImplementedError


class LosesWhatWaits(FileLog):
    """Acknowledges before it writes: what waits dies with its process."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Any] = []

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        self.waiting.append([agent_id, interaction])
        await asyncio.sleep(0.002)
        return "-"

    async def close(self) -> None:
        self._write(self.waiting)
        self.waiting = []


class WritesTwice(FileLog):
    """Sends each tenth append again."""

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        if interaction["n"] % 10 == 9:
            self._write([[agent_id, interaction]])
        return await super().store_interaction(agent_id, interaction)


class Reorders(FileLog):
    """Keeps each third append back until the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}

    async def store_interaction(self, agent_id: str, interaction: dict[str, Any]) -> str:
        task = f"{agent_id}-{interaction['task']}"
        if interaction["n"] % 3 == 1:
            self.kept[task] = [agent_id, interaction]
            return "-"
        result = await super().store_interaction(agent_id, interaction)
        if task in self.kept:
            self._write([self.kept.pop(task)])
        return result

    async def close(self) -> None:
        self._write(list(self.kept.values()))
