"""What holds between the backends: one program, one line of configuration, the same data in every store."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from markdown_it import MarkdownIt

from oacp_storage_conformance.workers import worker
from oacp_storage_core import open_storage

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "switching.md"
TRAFFIC = ROOT.parent / "shared" / "data" / "interactions.jsonl.gz"

SERVERS = {
    "postgres": ("oacp-storage-postgres", "oacp_postgres_server"),
    "redis": ("oacp-storage-redis", "oacp_redis_server"),
    "valkey": ("oacp-storage-redis", "oacp_valkey_server"),
    "redis cluster": ("oacp-storage-redis", "oacp_redis_cluster"),
    "mongo": ("oacp-storage-mongo", "oacp_mongo_server"),
}
"""Stores on servers: the package that they need, and the fixture that starts the server."""

EMBEDDED = {"file": "file://{directory}/data", "sqlite": "sqlite:///{directory}/agents.db"}
HERE = [name for name, (package, _) in SERVERS.items() if (ROOT / "packages" / package).is_dir()]
STORES = [*EMBEDDED, *HERE]

Url = Callable[[str], str]


def with_namespace(url: str) -> str:
    """The URL with a namespace of its own, so that servers can be shared by tests."""
    return f"{url}{'&' if '?' in url else '?'}namespace=cross-{uuid4().hex[:12]}"


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Url:
    """The URL of an empty place in the store of that name."""

    def make(name: str) -> str:
        if name in EMBEDDED:
            directory = tmp_path / f"{name} {uuid4().hex[:8]}".replace(" ", "-")
            directory.mkdir()
            return EMBEDDED[name].format(directory=directory)
        server = request.getfixturevalue(SERVERS[name][1])
        return with_namespace(server.url)

    return make


def fences(language: str) -> list[str]:
    tokens = MarkdownIt().parse(PAGE.read_text(encoding="utf-8"))
    return [token.content for token in tokens if token.type == "fence" and token.info == language]


def command(*arguments: str | Path) -> str:
    """What ``oacp-storage`` prints as a program of its own; a failure shows its errors."""
    done = subprocess.run(
        [sys.executable, "-m", "oacp_storage", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("store", ["memory", *STORES])
def test_the_program_runs_everywhere_with_one_line_changed(
    store: str, url_of: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,), (configuration,) = fences("python"), fences("toml")
    url = f"memory://{uuid4().hex}" if store == "memory" else url_of(store)
    changed, lines = re.subn(r'^url = ".*"$', f'url = "{url}"', configuration, flags=re.MULTILINE)
    assert lines == 1
    (tmp_path / "oacp.toml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OACP_STORAGE_URI", raising=False)
    exec(compile(program, str(PAGE), "exec"), {"__name__": "__main__"})


def test_the_page_has_a_line_for_every_store() -> None:
    lines = re.findall(r'`url = "([a-z+]+)://', PAGE.read_text(encoding="utf-8"))
    packages = {
        "postgres": "postgresql",
        "valkey": "redis",
        "redis cluster": "redis+cluster",
        "mongo": "mongodb",
    }
    assert {packages.get(name, name) for name in STORES} <= set(lines)


def by_agent(lines: list[str]) -> dict[str, list[str]]:
    """The interactions of each agent in their order, as text that shows types and the order of keys."""
    found = defaultdict(list)
    for line in lines:
        fields = json.loads(line)
        found[fields["agent_id"]].append(json.dumps(fields["interaction"]))
    return found


@pytest.mark.skipif(not TRAFFIC.exists(), reason=f"the recorded traffic is not at {TRAFFIC}")
@pytest.mark.parametrize("store", [name for name in HERE if name not in {"valkey", "redis cluster"}])
def test_real_traffic_comes_out_of_every_server_as_it_went_in(
    store: str, url_of: Url, tmp_path: Path
) -> None:
    """Once for each package; those of files and SQLite are in packages/oacp-storage/tests/test_traffic.py."""
    url, export = url_of(store), tmp_path / "export.jsonl"
    with gzip.open(TRAFFIC, "rt", encoding="utf-8") as file:
        original = by_agent(list(file))
    count = sum(map(len, original.values()))
    assert f"{count:,} added, 0 already there, 0 malformed" in command("import", TRAFFIC, "--to", url)
    command("export", url, export)
    exported = export.read_text(encoding="utf-8").splitlines()
    assert by_agent(exported) == original
    assert len({(row["agent_id"], row["id"]) for row in map(json.loads, exported)}) == count


@pytest.mark.asyncio
async def test_a_storage_moves_through_all_stores_unchanged(url_of: Url) -> None:
    """Each gets it from the one before it, and the last is compared with the first."""
    urls = [url_of(store) for store in STORES]
    async with open_storage(urls[0]) as first:
        for n in range(3):
            said = [
                {"n": n, "text": "caf\u00e9 \0 \U0001f600", "ratio": 1.0, "big": 2**70, "": {"$x": [None]}}
            ]
            await first.record_turn(
                "ann/\u00e4", interactions=said * 40, state={"n": n}, learning={"k.\n": {}}
            )
        await first.delete_interactions("ann/\u00e4", keep_last=100)
        await first.store_system_state("settings", {"-0.0": -0.0})
        await first.store_interaction("bob", {})
    for source, target in pairwise(urls):
        await asyncio.to_thread(command, "copy", "--from", source, "--to", target)
    compared = await asyncio.to_thread(command, "compare", urls[0], urls[-1])
    assert "101 interactions" in compared
    assert "all equal" in compared
    async with open_storage(urls[-1]) as last:
        assert [one.sequence async for one in last.iter_interactions("ann/\u00e4", limit=1)] == [21]
        document = await last.get_agent_state_document("ann/\u00e4")
        assert document is not None
        assert document.version == 3


@pytest.mark.parametrize("store", STORES)
@pytest.mark.asyncio
async def test_four_processes_count_to_800_by_compare_and_set(store: str, url_of: Url) -> None:
    url, count = url_of(store), 200
    async with AsyncExitStack() as stack:
        counting = [
            await stack.enter_async_context(worker(url, {}, "increment", agent="counter", count=count))
            for _ in range(4)
        ]
        for one in counting:
            assert await one.finish(240) == [count]
    async with open_storage(url) as storage:
        document = await storage.get_agent_state_document("counter")
        assert document is not None
        assert (document.version, document.data) == (800, {"n": 800})
