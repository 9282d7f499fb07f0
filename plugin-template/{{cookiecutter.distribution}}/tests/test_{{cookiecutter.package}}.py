"""What is this backend's own: its name, its files, its refusals, and what a loop that ends leaves behind."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from oacp_storage_core import StorageConfigError, create_storage, open_storage

from {{ cookiecutter.package }} import {{ cookiecutter.class_name }}


def test_it_is_found_by_its_name(tmp_path: Path) -> None:
    storage = create_storage("{{ cookiecutter.backend }}", directory=tmp_path)
    assert isinstance(storage, {{ cookiecutter.class_name }})


@pytest.mark.asyncio
async def test_each_namespace_has_a_file(tmp_path: Path) -> None:
    for namespace in ("one", "two"):
        async with open_storage("{{ cookiecutter.backend }}", directory=tmp_path, namespace=namespace) as storage:
            await storage.store_interaction("planner", {"text": namespace})
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["one.db", "two.db"]


@pytest.mark.asyncio
async def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "default.db"
    path.write_text("these are my notes, and not a database" * 10)
    storage = {{ cookiecutter.class_name }}(tmp_path)
    with pytest.raises(StorageConfigError, match=r"default\.db cannot be used"):
        await storage.open()
    assert path.read_text().startswith("these are my notes")


@pytest.mark.asyncio
async def test_a_store_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    storage = {{ cookiecutter.class_name }}(tmp_path / "nowhere")
    assert await storage.missing_store() == str(tmp_path / "nowhere" / "default.db")
    assert list(tmp_path.iterdir()) == []
    async with storage:
        assert await storage.missing_store() is None


@pytest.mark.parametrize("rest", ["me:s3cret@host/data", "data", "/data?pasword=s3cret"])
def test_a_url_with_a_host_or_an_unknown_option_is_refused(rest: str) -> None:
    with pytest.raises(StorageConfigError, match="names a host") as caught:
        create_storage(f"{{ cookiecutter.backend }}://{rest}")
    assert "s3cret" not in str(caught.value)


def test_a_loop_that_ends_within_a_commit_leaves_the_file_free(tmp_path: Path) -> None:
    storage = {{ cookiecutter.class_name }}(tmp_path)
    batch = [{"n": n} for n in range(5000)]

    async def leave() -> None:
        await storage.store_interaction("planner", {"n": 0})
        asyncio.ensure_future(storage.store_interactions("planner", batch))  # noqa: RUF006 - nobody is to wait
        await asyncio.sleep(0.01)

    async def go_on() -> int:
        async with storage:
            return await storage.count_interactions("planner")

    asyncio.run(leave())
    assert asyncio.run(go_on()) in {1, 5001}
    # The abandoned thread may be in the middle of a statement, and lets go after it.
    connection = sqlite3.connect(tmp_path / "default.db", timeout=10, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.close()
