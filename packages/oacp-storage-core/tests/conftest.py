"""Fixtures of the tests of oacp-storage-core."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent, indent

import importlib_metadata
import pytest

from oacp_storage_core import entry_points, hooks

BACKENDS = "oacp_storage.backends"

FOUR_METHODS = dedent(
    """
    async def store_interaction(self, agent_id, interaction):
        self.log.setdefault(agent_id, []).append(interaction)
        return f"{agent_id}:{len(self.log[agent_id])}"

    async def get_interactions(self, agent_id, limit=100):
        return self.log.get(agent_id, [])[-limit:]

    async def store_agent_state(self, agent_id, state):
        self.states[agent_id] = state

    async def get_agent_state(self, agent_id):
        return self.states.get(agent_id)
    """
)


class Site:
    """A folder on ``sys.path`` into which distributions are installed, as metadata and modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def install(
        self,
        name: str,
        points: Mapping[str, Mapping[str, str]] | bytes,
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
        noticed: bool = True,
    ) -> None:
        """Install a distribution; ``points`` maps groups to names to targets, or is the file as it is.

        ``noticed``: the next lookup shall not be the first to see it.
        """
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if not isinstance(points, bytes):
            lines = [
                line
                for group, named in points.items()
                for line in (f"[{group}]", *(f"{key} = {target}" for key, target in named.items()))
            ]
            points = "\n".join(lines).encode()
        info.joinpath("entry_points.txt").write_bytes(points)
        for module, source in (modules or {}).items():
            self.folder.joinpath(f"{module}.py").write_text(dedent(source))
        if noticed:
            entry_points.scan(again=True)

    def install_backend(
        self, name: str, body: str = "", *, parameters: str = "", noticed: bool = True
    ) -> str:
        """Install a four-method backend under ``name``, with class body and parameters; returns its module."""
        module = f"backend_{name}"
        init = f"def __init__(self{parameters and ', ' + parameters}):\n"
        init += "    self.given = {k: v for k, v in locals().items() if k not in ('self', '__class__')}\n"
        init += "    self.log, self.states = {}, {}\n"
        source = "import os\nfrom pathlib import Path\nfrom typing import *\n"
        source += "from oacp_storage_core import *\nfrom oacp_storage_core import StorageBackend\n"
        source += "class Backend(StorageBackend):\n"
        source += indent(init + FOUR_METHODS + dedent(body), "    ")
        points = {BACKENDS: {name: f"{module}:Backend"}}
        self.install(f"dist-{name}", points, {module: source}, noticed=noticed)
        return module


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Site]]:
    """``make_site(folder)``: a further folder at the front of ``sys.path``. All is undone afterwards."""
    folders: list[Path] = []

    class OnPath(Site):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            monkeypatch.syspath_prepend(str(folder))
            folders.append(folder)
            hooks.plugins.cache_clear()

    yield OnPath
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and any(Path(file).is_relative_to(folder) for folder in folders):
            del sys.modules[name]
    monkeypatch.undo()
    entry_points.scan(again=True)
    hooks.plugins.cache_clear()


@pytest.fixture
def lone_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The same, where nothing else is installed at all."""
    distributions = importlib_metadata.distributions
    monkeypatch.setattr(importlib_metadata, "distributions", lambda: distributions(path=[str(site.folder)]))
    entry_points.scan(again=True)
    return site


@pytest.fixture
def site(make_site: type[Site], tmp_path: Path) -> Site:
    """An empty folder at the front of ``sys.path``."""
    return make_site(tmp_path / "site")
