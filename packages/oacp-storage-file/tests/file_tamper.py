"""A second path into a directory of FileStorage, written against its documented layout and not its code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from oacp_storage_conformance import Tamper
from oacp_storage_conformance.tamper import Part


class FileTamper(Tamper):
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def agent(self, agent_id: str, namespace: str) -> Path:
        return self.directory / "namespaces" / _encoded("n", namespace) / "agents" / _encoded("a", agent_id)

    def segments(self, agent_id: str, namespace: str) -> list[Path]:
        return sorted(self.agent(agent_id, namespace).glob("log-*.jsonl"))

    def flip_interaction(self, agent_id: str, sequence: int, *, part: Part, namespace: str) -> None:
        for path in self.segments(agent_id, namespace):
            lines = path.read_bytes().splitlines(keepends=True)
            for i, line in enumerate(lines):
                if line.startswith(b'{"sequence":%d,' % sequence):
                    lines[i] = _flip_part(line, part)
                    path.write_bytes(b"".join(lines))
                    return
        raise LookupError(f"no interaction {sequence} of {agent_id!r}")

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        _flip_data(self.agent(agent_id, namespace) / "state.json")

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        _flip_data(self.agent(agent_id, namespace) / "learning" / f"{_encoded('k', key)}.json")

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        directory = self.directory / "namespaces" / _encoded("n", namespace) / "system"
        _flip_data(directory / f"{_encoded('k', key)}.json")

    def tear_tail(self, agent_id: str, *, namespace: str) -> None:
        segment = self.segments(agent_id, namespace)[-1]
        line = segment.read_bytes().splitlines()[-1]
        with segment.open("ab") as file:
            file.write(line[: len(line) // 2])

    def set_schema_version(self, version: int) -> None:
        path = self.directory / "format.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": version}))

    def downgrade_schema(self) -> int:
        """Version 1 had no manifests, but for the names and last sequences that stand nowhere else."""
        for path in self.directory.rglob("documents.json"):
            path.unlink()
        for path in self.directory.rglob("agents/*/agent.json"):
            path.unlink()
        self.set_schema_version(1)
        return 1


def _encoded(kind: str, name: str) -> str:
    return f"{kind}-" + "".join(
        chr(byte) if re.match(r"[a-z0-9-]", chr(byte)) else f"_{byte:02x}" for byte in name.encode()
    )


def _flip_part(line: bytes, part: Part) -> bytes:
    before = {
        "body": rb'"data":.*[0-9a-z]',
        "id": rb'"id":"[^"]*[0-9a-z]',
        "time": rb'"timestamp":"[^"]*[0-9]',
    }
    match = re.search(before[part], line)
    assert match is not None, line
    return _flip(line, match.end() - 1)


def _flip_data(path: Path) -> None:
    content = path.read_bytes()
    match = re.search(rb'"data":.*[0-9a-z]', content, re.DOTALL)
    assert match is not None, content
    path.write_bytes(_flip(content, match.end() - 1))


def _flip(data: bytes, at: int) -> bytes:
    """The lowest bit of a letter or digit: it stays one, and JSON stays JSON."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
