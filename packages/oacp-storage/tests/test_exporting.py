"""Exporting: sorted, complete, exact, and a file that is there only when it is whole."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oacp_storage.damaged import SHOWN
from oacp_storage.exporting import export_lines, has_agent, replaced
from oacp_storage_core import CorruptDataError, Interaction, MemoryStorage, StorageWrapper


async def exported(storage: Any, **options: Any) -> list[dict[str, Any]]:
    target = io.BytesIO()
    await export_lines(storage, target, **options)
    return [json.loads(line) for line in target.getvalue().splitlines()]


@pytest.mark.asyncio
async def test_by_agent_in_code_point_order_and_then_by_sequence() -> None:
    names = ["b", "a", "B", "é", "\U0001f600", "z", "\uffff", "ab"]
    async with MemoryStorage() as storage:
        for number in range(3):
            for name in names:
                await storage.store_interaction(name, {"number": number})
        lines = await exported(storage)
        assert [(line["agent_id"], line["interaction"]["number"]) for line in lines] == [
            (name, number) for name in sorted(names) for number in range(3)
        ]
        assert set(lines[0]) == {"agent_id", "id", "timestamp", "interaction"}
        one = await storage.get_interaction("B", lines[0]["id"])
        assert one is not None
        assert lines[0]["timestamp"] == one.timestamp.isoformat()


@pytest.mark.asyncio
async def test_only_some_agents_each_once() -> None:
    async with MemoryStorage() as storage:
        for name in ("a", "b", "c"):
            await storage.store_interaction(name, {})
        assert [line["agent_id"] for line in await exported(storage, agents=["c", "a", "c"])] == ["a", "c"]


@pytest.mark.asyncio
async def test_more_agents_than_a_page() -> None:
    names = [f"agent-{number:04}" for number in range(450)]
    async with MemoryStorage() as storage:
        for name in names:
            await storage.store_interaction(name, {})
        assert [line["agent_id"] for line in await exported(storage)] == names


@pytest.mark.asyncio
async def test_whether_there_is_an_agent() -> None:
    async with MemoryStorage() as storage:
        for name in ("ab", "abc"):
            await storage.store_interaction(name, {})
        assert [await has_agent(storage, name) for name in ("a", "ab", "abc", "abcd")] == [
            False,
            True,
            True,
            False,
        ]


class Damaged(StorageWrapper):
    """Every third interaction cannot be read."""

    def iter_interactions(self, agent_id: str, **keywords: Any) -> AsyncIterator[Interaction]:
        return _Damaged(super().iter_interactions(agent_id, **keywords))


class _Damaged:
    def __init__(self, history: AsyncIterator[Interaction]) -> None:
        self._history = history

    def __aiter__(self) -> AsyncIterator[Interaction]:
        return self

    async def __anext__(self) -> Interaction:
        one = await anext(self._history)
        if one.sequence % 3 == 0:
            raise CorruptDataError(f"agent {one.agent_id!r}, sequence {one.sequence}: wrong checksum")
        return one


@pytest.mark.asyncio
async def test_damaged_interactions_are_named_and_the_rest_is_exported() -> None:
    async with MemoryStorage() as memory:
        for number in range(1, 101):
            await memory.store_interaction("a", {"number": number})
        target = io.BytesIO()
        summary = await export_lines(Damaged(memory), target)
    assert (summary.interactions, summary.damaged.count, len(summary.damaged.reasons)) == (67, 33, SHOWN)
    assert summary.damaged.reasons[0] == "agent 'a', sequence 3: wrong checksum"
    assert len(target.getvalue().splitlines()) == 67


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replaced(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(failure: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with replaced(path) as stream:
            stream.write(b"new")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    with replaced(link) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert path.read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replaced(pipe) as stream:
        stream.write(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()
