"""A copy replaces nothing that the target did on its own: it stops, and names the agent and the place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from oacp_command import call, run
from oacp_storage.copying import compare_storages, copy_storage
from oacp_storage_core import (
    Document,
    DuplicateIdError,
    Interaction,
    MemoryStorage,
    StorageError,
    StorageWrapper,
    VersionConflictError,
)

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


@pytest.mark.asyncio
async def test_every_record_that_is_there_is_compared_not_only_the_newest() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        for storage, second in ((source, {"n": 2}), (target, {"n": "two"})):
            for number, data in enumerate([{"n": 1}, second, {"n": 3}]):
                await storage.store_interaction("a", data, interaction_id=str(number), timestamp=THEN)
        await source.store_interaction("a", {"n": 4})
        with pytest.raises(DuplicateIdError, match=r"agent 'a'.*interaction 2 .*another one.*data differs"):
            await copy_storage(source, target)
        assert await target.count_interactions("a") == 3


@pytest.mark.asyncio
async def test_what_the_source_deleted_since_stays_in_the_target() -> None:
    async with MemoryStorage() as source, MemoryStorage() as target:
        await source.store_interactions("a", [{"n": n} for n in range(5)])
        await copy_storage(source, target)
        await source.delete_interactions("a", keep_last=2)
        summary = await copy_storage(source, target)
        assert (summary.interactions, summary.left_out.count) == (5, 0)


class Bending(StorageWrapper):
    """Stores other data than it is given, in what the test names."""

    bends = ""

    async def import_records(
        self,
        agent_id: str,
        *,
        interactions: Sequence[Interaction] = (),
        state: Document | None = None,
        learning: Iterable[Document] = (),
    ) -> None:
        if self.bends == "loses" and len(interactions) > 1:
            interactions = [*interactions[:1], *interactions[2:]]
        if self.bends == "interaction":
            interactions = [replace(one, data={"n": 1.0}) for one in interactions]
        if self.bends == "state" and state is not None:
            state = replace(state, version=state.version + 1)
        if self.bends == "learning":
            learning = [replace(one, data={}) for one in learning]
        await super().import_records(agent_id, interactions=interactions, state=state, learning=learning)

    async def import_system_state(self, document: Document) -> None:
        if self.bends != "system":
            await super().import_system_state(document)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("bends", "named"),
    [
        ("loses", "interaction 2 of agent 'a'"),
        ("interaction", "interaction 1 of agent 'a'"),
        ("state", "state of agent 'a'"),
        ("learning", "learning data 'k' of agent 'a'"),
        ("system", "system state 's'"),
    ],
)
async def test_what_was_written_is_read_back(bends: str, named: str) -> None:
    async with MemoryStorage() as source, MemoryStorage() as memory:
        await source.record_turn(
            "a", interactions=[{"n": n} for n in (1, 2, 3)], state={"n": 1}, learning={"k": {"n": 1}}
        )
        await source.store_system_state("s", {"n": 1})
        target = Bending(memory)
        await copy_storage(source, Bending(MemoryStorage()))  # which bends nothing
        target.bends = bends
        with pytest.raises(StorageError, match=f"^{named}: it was written into the target, and is not there"):
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
