"""A copy replaces nothing that the target did on its own: it stops, and names the agent and the place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oacp_command import call, run
from oacp_storage.copying import compare_storages, copy_storage
from oacp_storage_core import Document, DuplicateIdError, MemoryStorage, VersionConflictError

THEN = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.asyncio
async def test_a_newer_state_of_the_target_stays() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.store_agent_state("a", {"n": 1})
        await copy_storage(source, target)
        await target.store_agent_state("a", {"n": 2})
        with pytest.raises(VersionConflictError, match=r"state of agent 'a'.*version 2"):
            await copy_storage(source, target)
        assert await target.get_agent_state("a") == {"n": 2}


@pytest.mark.asyncio
async def test_newer_learning_data_of_the_target_stays() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.store_learning_data("a", "k", {"n": 1})
        await copy_storage(source, target)
        await target.store_learning_data("a", "k", {"n": 2})
        with pytest.raises(VersionConflictError, match="learning data 'k' of agent 'a'"):
            await copy_storage(source, target)
        assert await target.get_learning_data("a", "k") == {"n": 2}


@pytest.mark.asyncio
async def test_newer_system_state_of_the_target_stays() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.store_system_state("k", {"n": 1})
        await copy_storage(source, target)
        await target.store_system_state("k", {"n": 2})
        with pytest.raises(VersionConflictError, match="system state 'k'"):
            await copy_storage(source, target)
        assert await target.get_system_state("k") == {"n": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("version", "data", "later", "stays"),
    [
        (3, {"n": 0}, 0, True),  # the same version of another document
        (3, {"n": 3}, 1, True),  # the same but for its time
        (1, {"n": 0}, 1, True),  # an older version, but written later: not one that was copied
        (1, {"n": 0}, -1, False),  # an earlier copy
        (1, {"n": 0}, 0, False),
    ],
)
async def test_only_an_older_document_is_replaced(
    version: int, data: dict[str, int], later: int, stays: bool
) -> None:
    theirs = Document("", data, version, THEN + timedelta(seconds=later))
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.import_records("a", state=Document("", {"n": 3}, 3, THEN))
        await target.import_records("a", state=theirs)
        if stays:
            with pytest.raises(VersionConflictError, match="state of agent 'a'"):
                await copy_storage(source, target)
            assert await target.get_agent_state_document("a") == theirs
        else:
            await copy_storage(source, target)
            assert (await compare_storages(source, target)).equal


@pytest.mark.asyncio
async def test_a_log_that_went_on_in_the_target_is_refused() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.store_interactions("a", [{"n": 1}, {"n": 2}])
        await copy_storage(source, target)
        await target.store_interaction("a", {"n": 3}, interaction_id="mine")
        with pytest.raises(DuplicateIdError, match=r"agent 'a'.*interaction 3.*'mine'.*not in the source"):
            await copy_storage(source, target)
        await source.store_interactions("a", [{"n": 3}, {"n": 4}])
        with pytest.raises(DuplicateIdError, match="agent 'a'"):
            await copy_storage(source, target)
        assert await target.count_interactions("a") == 3


@pytest.mark.asyncio
async def test_a_record_with_another_time_is_a_conflict() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        for storage, time in ((source, THEN), (target, THEN + timedelta(seconds=1))):
            await storage.store_interaction("a", {"n": 1}, interaction_id="i", timestamp=time)
        with pytest.raises(DuplicateIdError, match=r"agent 'a'.*timestamp differs"):
            await copy_storage(source, target)


def test_a_conflict_is_one_line_on_the_command_line(tmp_path: Path) -> None:
    one, other = f"sqlite:///{tmp_path}/one.db", f"file://{tmp_path}/other"
    line = b'{"agent_id": "alice", "interaction": {"n": 1}, "timestamp": "2025-01-31T12:00:00Z"}\n'
    assert run("import", "-", "--to", one, stdin=line).status == 0
    assert run("copy", one, other).status == 0
    assert run("import", "-", "--to", other, stdin=line + line).status == 0
    ran = run("copy", one, other)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("oacp-storage: agent 'alice': ")
    assert ran.err.count("\n") == 1


def test_identical_documents_are_passed_over(
    stores: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = stores
    first = call(capsys, "copy", one, other)
    assert call(capsys, "copy", one, other) == first
