"""What is not installed is named, with the command that installs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from oacp_command import call, run
from oacp_storage.exits import Status
from oacp_storage.failures import describe
from oacp_storage_core import StorageConfigError

Capture = pytest.CaptureFixture[str]
HIDING = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


def without(folder: Path, *names: str) -> dict[str, str]:
    """An environment in which these modules cannot be imported."""
    folder.joinpath("sitecustomize.py").write_text(HIDING.format(names=names))
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("module", "extra"),
    [("asyncpg", "postgres"), ("redis.asyncio", "redis"), ("pymongo", "mongo"), ("bson", "mongo")],
)
def test_a_missing_driver(module: str, extra: str) -> None:
    missing = ModuleNotFoundError(f"No module named {module!r}", name=module)
    wrapped = StorageConfigError("the backend refuses its options: ModuleNotFoundError")
    wrapped.__cause__ = missing
    for exc in (missing, wrapped):
        message, status = describe(exc, [])
        assert status == Status.USAGE
        assert message.endswith(f'is not installed; install it with: pip install "oacp-storage[{extra}]"')
        assert repr(module.partition(".")[0]) in message


def test_another_missing_module() -> None:
    message, status = describe(ModuleNotFoundError("No module named 'x'", name="x.y"), [])
    assert (message, status) == (
        "the Python package 'x' is not installed; install it with: pip install x",
        Status.USAGE,
    )


def test_a_backend_without_its_driver_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("oacp_storage_redis")
    monkeypatch.setitem(sys.modules, "redis", None)
    listed = json.loads(call(capsys, "backends", "--json").out)
    [problem] = [one["problem"] for one in listed if one["distribution"] == "oacp-storage-redis"]
    assert problem.endswith('pip install "oacp-storage[redis]"')


def test_without_zstandard_everything_else_works(tmp_path: Path) -> None:
    environment = without(tmp_path, "zstandard")
    url = f"sqlite:///{tmp_path}/agents.db"
    line = b'{"agent_id": "alice", "interaction": {"n": 1}}\n'
    assert run("import", "-", "--to", url, stdin=line, env=environment).status == 0
    assert run("agents", url, env=environment).status == 0
    ran = run("export", url, tmp_path / "out.zst", env=environment)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "oacp-storage: the Python package 'zstandard' is not installed; install it with: pip install zstandard\n"
    )


def test_the_demo_without_its_backend(tmp_path: Path) -> None:
    tmp_path.joinpath("oacp_storage_sqlite.py").write_text("raise RuntimeError('broken')\n")
    ran = run("demo", env={"PYTHONPATH": str(tmp_path)})
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert ran.err.startswith("oacp-storage: backend 'sqlite'")


def test_a_command_of_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("oacp_storage_core.entry_points.offers", lambda _: [])
    for name in ("conformance", "bench"):
        ran = call(capsys, name)
        assert ran.status == 2
        assert f"install it with: pip install oacp-storage-{name}" in ran.err
