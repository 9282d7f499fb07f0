"""Which storage a source means: mapping, URL, file, configured name, backend name, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from behind_adapter import backend_of
from oacp_storage_core import (
    BackendNotFoundError,
    MemoryStorage,
    Storage,
    StorageClosedError,
    StorageConfigError,
    create_storage,
    open_storage,
)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without configuration."""
    monkeypatch.delenv("OACP_STORAGE_URI", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def box(site) -> None:
    """A backend ``box`` that remembers what it was given."""
    site.install_backend(
        "box",
        """
        @classmethod
        def from_url(cls, url, **options):
            made = cls(**options)
            made.given["url"] = url
            return made
        """,
        parameters="size: int = 1, label: str = 'x'",
    )


def given(source: Any, **options: object) -> Any:
    """What the backend behind the adapter was given."""
    return backend_of(create_storage(source, **options)).given


def test_the_name_of_a_backend() -> None:
    assert isinstance(create_storage("memory"), MemoryStorage)
    assert isinstance(create_storage("MEMORY"), MemoryStorage)


def test_a_url(box) -> None:
    assert isinstance(create_storage("memory://"), MemoryStorage)
    assert given("box://host/path") == {"size": 1, "label": "x", "url": "box://host/path"}
    assert given("BOX://host/path", size=3)["size"] == 3


def test_a_mapping(box) -> None:
    assert given({"backend": "box", "size": 2}) == {"size": 2, "label": "x"}
    assert given({"backend": "box", "size": 2}, size=3)["size"] == 3
    assert given({"url": "box://h", "size": 2})["url"] == "box://h"


def test_the_path_of_a_file_means_its_default(box, work) -> None:
    work.joinpath("my.toml").write_text(
        'default = "b"\n[storage.a]\nbackend = "memory"\n[storage.b]\nbackend = "box"'
    )
    assert given("my.toml")["size"] == 1
    assert given(str(work / "my.toml"))["size"] == 1
    assert given(work / "my.toml", size=4)["size"] == 4


def test_a_configured_name_comes_before_a_backend_of_that_name(box, work) -> None:
    work.joinpath("oacp.toml").write_text(
        '[storage.memory]\nbackend = "box"\n[storage.prod]\nbackend = "box"\nsize = 7'
    )
    assert given("prod")["size"] == 7
    assert given("prod", size=8)["size"] == 8
    assert given("memory")["size"] == 1
    assert given("box")["size"] == 1


def test_names_are_configured_in_the_nearest_file_upwards(box, work, monkeypatch) -> None:
    work.joinpath("oacp.toml").write_text('[storage.far]\nbackend = "box"')
    inner = work / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert given("far")["size"] == 1
    work.joinpath("a", "oacp.toml").write_text('[storage.near]\nbackend = "box"')
    assert given("near")["size"] == 1
    with pytest.raises(BackendNotFoundError):
        create_storage("far")


@pytest.mark.asyncio
async def test_nothing_means_the_environment_then_the_nearest_file(box, work, monkeypatch) -> None:
    work.joinpath("oacp.toml").write_text(
        'default = "main"\n[storage.main]\nbackend = "box"\n[storage.x]\nbackend = "memory"'
    )
    async with open_storage() as storage:
        assert backend_of(storage).given["size"] == 1
    async with open_storage(size=5) as storage:
        assert backend_of(storage).given["size"] == 5
    monkeypatch.setenv("OACP_STORAGE_URI", "memory://")
    async with open_storage() as storage:
        assert isinstance(storage, MemoryStorage)
    assert isinstance(create_storage(), MemoryStorage)
    monkeypatch.setenv("OACP_STORAGE_URI", "main")
    async with open_storage() as storage:
        assert backend_of(storage).given["size"] == 1
    monkeypatch.setenv("OACP_STORAGE_URI", "")
    async with open_storage() as storage:
        assert backend_of(storage).given["size"] == 1


def test_the_only_storage_of_a_file_is_its_default(box, work) -> None:
    work.joinpath("oacp.toml").write_text('[storage.main]\nbackend = "box"')
    assert given(None)["size"] == 1


def test_nothing_at_all_says_both_ways_to_configure(work) -> None:
    with pytest.raises(StorageConfigError) as caught:
        create_storage()
    message = str(caught.value)
    assert "OACP_STORAGE_URI is not set" in message
    assert f"there is no oacp.toml in {work} or above it" in message
    assert "set OACP_STORAGE_URI=sqlite:///oacp.db" in message
    assert '[storage.main]\nbackend = "sqlite"' in message


def test_a_name_that_is_neither_configured_nor_installed_names_both(work) -> None:
    work.joinpath("oacp.toml").write_text('[storage.production]\nbackend = "memory"')
    with pytest.raises(BackendNotFoundError) as caught:
        create_storage("prodction")
    message = str(caught.value)
    assert "no installed backend is called 'prodction'" in message
    assert "and no storage in oacp.toml (it has production)" in message
    assert "did you mean 'production'?" in message
    assert "installed are: " in message


def test_a_url_of_a_backend_that_is_missing_says_what_to_install(lone_site) -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        create_storage("postgresql://me:s3cret@db/x")
    assert "pip install oacp-storage-postgres" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["file:./data", "sqlite:oacp.db", "./oacp.db"])
def test_a_url_without_its_slashes_is_no_name(text) -> None:
    with pytest.raises(BackendNotFoundError, match="a URL has ://"):
        create_storage(text)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "the name of the storage is empty"),
        ("  ", "the name of the storage is empty"),
        ("://x", "the URL ://x is malformed"),
        ("box:// \x07", "malformed"),
        ({}, r'the mapping: needs backend = "..." or url = "..."'),
        ({"size": 2}, "the mapping: needs backend"),
        ({"backend": 7}, "the mapping: backend must be a text, it is of type int"),
        ({"backend": ""}, "the mapping: backend must be a text, it is empty"),
        ({"url": None}, "the mapping: url must be a text, it is of type NoneType"),
        ({"url": "no url"}, "the mapping: the URL no url is malformed"),
        ({3: 4}, "the mapping: the key 3 is not a str"),
        (
            {"backend": "memory", "wrappers": "encrypt"},
            "the mapping: wrappers must be a list of names or tables",
        ),
        (
            {"backend": "memory", "wrappers": [3]},
            "an entry of wrappers is a name or a table with a name, not int",
        ),
        ({"backend": "memory", "wrappers": [{"key": "k"}]}, "a table with a name, not dict without one"),
        ({"backend": "memory", "wrappers": [""]}, "a name or a table with a name, not str"),
    ],
)
def test_a_faulty_source_is_refused(source, reason) -> None:
    with pytest.raises(StorageConfigError) as caught:
        create_storage(source)
    assert reason in str(caught.value)


@pytest.mark.parametrize("source", [7, b"memory", ["memory"], MemoryStorage()])
def test_what_is_no_source_is_a_type_error(source) -> None:
    with pytest.raises(TypeError, match="named by a str, a path or a mapping, not by"):
        create_storage(source)


def test_a_malformed_url_in_the_environment_names_the_variable(monkeypatch) -> None:
    monkeypatch.setenv("OACP_STORAGE_URI", "sqlite:///oacp.db\n")
    with pytest.raises(StorageConfigError) as caught:
        create_storage()
    assert str(caught.value).startswith("OACP_STORAGE_URI: the URL sqlite:///oacp.db? is malformed")


# --- opening and closing ------------------------------------------------------------------------------------

LIFE = """
    async def open(self):
        self.log["life"] = ["open"]
        if self.given["fail"]:
            raise StorageConnectionError("no server there")

    async def close(self):
        self.log["life"].append("close")
"""


@pytest.mark.asyncio
async def test_create_does_not_connect_and_open_does(site) -> None:
    site.install_backend("alive", LIFE, parameters="fail: bool = False")
    storage = create_storage("alive")
    assert backend_of(storage).log == {}
    async with open_storage("alive") as storage:
        assert isinstance(storage, Storage)
        assert backend_of(storage).log["life"] == ["open"]
    assert backend_of(storage).log["life"] == ["open", "close"]


@pytest.mark.asyncio
async def test_what_failed_to_open_is_closed(site, monkeypatch) -> None:
    site.install_backend("alive", LIFE, parameters="fail: bool = False")
    made: list[Storage] = []
    from oacp_storage_core import config

    def noted(*arguments: Any) -> Storage:
        made.append(construct(*arguments))
        return made[-1]

    construct = vars(config)["construct"]
    monkeypatch.setattr(config, "construct", noted)
    with pytest.raises(Exception, match="no server there"):
        async with open_storage("alive", fail=True):
            pytest.fail("it was opened")
    assert backend_of(made[0]).log["life"] == ["open", "close"]


@pytest.mark.asyncio
async def test_the_block_closes_its_storage_when_it_raises() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with open_storage("memory") as storage:
            raise RuntimeError("mine")
    with pytest.raises(StorageClosedError):
        await storage.get_interactions("a")
