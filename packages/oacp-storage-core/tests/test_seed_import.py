"""``from oacp.storage import ...`` works with what is installed, and says what to install otherwise."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from textwrap import dedent

import pytest

import oacp.storage
import oacp_storage_core

BACKENDS = {
    "FileStorage": "oacp_storage_file",
    "MongoStorage": "oacp_storage_mongo",
    "PostgreSQLStorage": "oacp_storage_postgres",
    "RedisStorage": "oacp_storage_redis",
    "SQLiteStorage": "oacp_storage_sqlite",
}


class Hiding:
    """A finder in front of all others that lets the packages in ``names`` be missing, installed or not."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def hiding(monkeypatch) -> Hiding:
    """Nothing is hidden yet, and no backend is imported."""
    for module in [name for name in sys.modules if name.partition(".")[0] in BACKENDS.values()]:
        monkeypatch.delitem(sys.modules, module)
    finder = Hiding()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.setattr(
        oacp.storage, "find_spec", lambda name: None if name in finder.names else find_spec(name)
    )
    return finder


@pytest.mark.parametrize(("name", "package"), BACKENDS.items())
def test_a_class_whose_distribution_is_missing_says_what_to_install(hiding, name, package) -> None:
    hiding.names.add(package)
    distribution = package.replace("_", "-")
    with pytest.raises(ImportError) as caught:
        getattr(oacp.storage, name)
    assert str(caught.value) == f"{name} is not installed; install it with: pip install {distribution}"
    assert caught.value.name == package
    assert type(caught.value) is ImportError
    with pytest.raises(ImportError, match=f"pip install {distribution}$"):
        exec(f"from oacp.storage import {name}", {})


@pytest.mark.parametrize(("name", "package"), BACKENDS.items())
def test_a_class_is_that_of_its_distribution(site, hiding, name, package) -> None:
    site.folder.joinpath(f"{package}.py").write_text(f"class {name}: ...")
    importlib.invalidate_caches()
    found = getattr(oacp.storage, name)
    assert found.__module__ == package
    assert found is getattr(oacp.storage, name)


def test_an_installed_backend_that_is_broken_is_not_called_missing(site, hiding) -> None:
    site.folder.joinpath("oacp_storage_redis.py").write_text("import the_driver_that_is_missing")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError) as caught:
        _ = oacp.storage.RedisStorage
    assert caught.value.name == "the_driver_that_is_missing"
    site.folder.joinpath("oacp_storage_redis.py").write_text("x = 1 / 0  # broken")
    importlib.invalidate_caches()
    with pytest.raises(ZeroDivisionError):
        _ = oacp.storage.RedisStorage


def test_everything_public_of_the_core_is_there() -> None:
    for name in oacp_storage_core.__all__:
        assert getattr(oacp.storage, name) is getattr(oacp_storage_core, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'oacp\.storage' has no attribute 'Storag'"):
        getattr(oacp.storage, "Storag")  # noqa: B009 -- a type checker refuses the plain spelling
    assert not hasattr(oacp.storage, "annotations_")


def test_dir_lists_what_is_installed(site, hiding) -> None:
    hiding.names.update(BACKENDS.values())
    assert dir(oacp.storage) == sorted(oacp_storage_core.__all__)
    site.folder.joinpath("oacp_storage_file.py").write_text("")
    importlib.invalidate_caches()
    hiding.names.remove("oacp_storage_file")
    assert dir(oacp.storage) == sorted([*oacp_storage_core.__all__, "FileStorage"])


def test_a_star_import_takes_what_is_installed(hiding) -> None:
    hiding.names.update(BACKENDS.values())
    names: dict[str, object] = {}
    exec("from oacp.storage import *", names)
    assert names.keys() - {"__builtins__"} == set(oacp_storage_core.__all__)


def test_the_import_path_is_a_module_in_no_package_of_ours() -> None:
    assert not hasattr(oacp.storage, "__path__")
    assert getattr(oacp, "__file__", None) is None


def test_importing_it_imports_no_backend(tmp_path) -> None:
    code = """
        import sys
        import oacp.storage
        from oacp.storage import Storage, StorageBackend
        dir(oacp.storage)
        loaded = [name for name in sys.modules if name.startswith("oacp_storage_") and "core" not in name]
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True, cwd=tmp_path)


def test_the_custom_backend_of_the_documentation_is_valid() -> None:
    from oacp.storage import StorageBackend

    class RedisStorage(StorageBackend):
        def __init__(self, redis_url: str) -> None:
            self.redis_url = redis_url

        async def store_interaction(self, agent_id, interaction):
            return f"{agent_id}:1"

        async def get_interactions(self, agent_id, limit=100):
            return []

        async def store_agent_state(self, agent_id, state):
            return None

        async def get_agent_state(self, agent_id):
            return None

    assert RedisStorage("redis://localhost:6379").redis_url == "redis://localhost:6379"


def test_type_checkers_see_the_names(tmp_path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    tmp_path.joinpath("user.py").write_text(
        dedent(
            """
            from oacp.storage import Storage, StorageBackend, create_storage, open_storage
            from oacp.storage import MongoStorage, PostgreSQLStorage, RedisStorage

            async def use() -> None:
                async with open_storage("memory") as storage:
                    reveal_type(storage)
                reveal_type(create_storage)
                reveal_type(StorageBackend)
            """
        )
    )
    source = next(iter(oacp.__path__))
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "user.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(source).removesuffix("/oacp"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "oacp_storage_core.storage.Storage"' in run.stdout, run.stdout + run.stderr
    assert "def (source: " in run.stdout
    assert "StorageBackend" in run.stdout
    assert "user.py" not in "".join(line for line in run.stdout.splitlines() if "error" in line), run.stdout
