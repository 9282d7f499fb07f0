"""Fixtures of the tests of the command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oacp_storage_core import MemoryStorage


@pytest.fixture
def stores() -> Iterator[tuple[str, str]]:
    """The URLs of two empty stores in this process."""
    names = "command-test-one", "command-test-other"
    yield f"memory://{names[0]}", f"memory://{names[1]}"
    for name in names:
        MemoryStorage.forget(name)


@pytest.fixture
def store(stores: tuple[str, str]) -> str:
    """The URL of an empty store in this process."""
    return stores[0]


@pytest.fixture(params=["sqlite", "file"])
def durable(request: pytest.FixtureRequest, tmp_path: object) -> str:
    """The URL of an empty store on disk, that other processes can open."""
    return f"sqlite:///{tmp_path}/store.db" if request.param == "sqlite" else f"file://{tmp_path}/store"
