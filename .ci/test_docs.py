"""The documentation runs: every Python example of the README and of docs/, page by page, as it stands there."""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from markdown_it import MarkdownIt

from oacp_storage_conformance.servers import RedisServer
from oacp_storage_core import adapt

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
READMES = sorted([*(ROOT / "packages").glob("*/README.md"), *ROOT.glob("*/README.md")])
GREETING = "[{'role': 'user', 'content': 'hello'}]\n"
"""What the first program of a backend's README prints."""
PROGRAMS = [ROOT / "README.md", ROOT / "docs" / "switching.md"]
"""The pages whose first example is a whole program, which a newcomer saves and runs."""
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def fences(page: Path, language: str) -> list[tuple[int, str]]:
    """The page's code blocks of that language, each with the line that it begins in."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [
        (token.map[0] + 2, token.content)
        for token in tokens
        if token.type == "fence" and token.info == language and token.map
    ]


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


async def awaited(result: Awaitable[object]) -> None:
    await result


def run_page(page: Path, blocks: list[tuple[int, str]]) -> None:
    """Run the blocks one after another, in one namespace: await at the top level, or whole programs."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, source in blocks:
        tree = ast.parse("\n" * (line - 1) + source)
        code = compile(tree, names(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            asyncio.run(awaited(result))


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "python")], ids=names)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _, text in fences(page, "toml"):
        if text.startswith("# oacp.toml\n"):
            Path("oacp.toml").write_text(text)
    run_page(page, fences(page, "python"))


@pytest.mark.parametrize("page", PROGRAMS, ids=names)
def test_the_first_example_is_a_program(page: Path, tmp_path: Path) -> None:
    (tmp_path / "oacp.toml").write_text('[storage.main]\nurl = "memory://first"\n')
    program = tmp_path / "program.py"
    program.write_text(fences(page, "python")[0][1])
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_custom_backend_of_the_guide_works_on_a_real_server(oacp_redis_server: RedisServer) -> None:
    page = ROOT / "docs" / "publish-a-backend.md"
    (source,) = (source for _, source in fences(page, "python") if "class RedisLists" in source)
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    said = [{"type": "message", "n": n, "text": "caf\u00e9 \0", "ratio": 1.0, "none": None} for n in range(5)]

    async def use() -> None:
        async with adapt(namespace["RedisLists"](oacp_redis_server.url)) as storage:
            ids = [await storage.store_interaction("guide", one) for one in said]
            assert len(set(ids)) == 5
            assert await storage.get_interactions("guide", limit=3) == said[-3:]
            assert await storage.get_interactions("guide", limit=0) == []
            assert await storage.get_agent_state("guide") is None
            assert await storage.store_agent_state("guide", {"step": 1}) == 0
            assert await storage.get_agent_state("guide") == {"step": 1}
            with pytest.raises(ValueError, match="negative"):
                await storage.get_interactions("guide", limit=-1)

    asyncio.run(use())


@pytest.mark.parametrize("package", ["core", "file"])
def test_the_program_of_a_readme_runs(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ((_, source),) = fences(ROOT / f"packages/oacp-storage-{package}/README.md", "python")
    exec(source, {"__name__": "__main__"})
    assert capsys.readouterr().out == GREETING


def test_the_program_of_the_readme_of_redis_runs(
    oacp_redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    ((_, source),) = fences(ROOT / "packages/oacp-storage-redis/README.md", "python")
    opened = 'RedisStorage("redis://localhost:6379")'
    assert opened in source
    here = f"RedisStorage({oacp_redis_server.url!r}, namespace='readme-{uuid4().hex}')"
    exec(source.replace(opened, here), {"__name__": "__main__"})
    assert capsys.readouterr().out == GREETING


@pytest.mark.parametrize("page", PAGES + READMES, ids=names)
def test_the_toml_of_a_page_can_be_read(page: Path) -> None:
    for _, source in fences(page, "toml"):
        tomllib.loads(source)


@pytest.mark.parametrize("page", PAGES + READMES, ids=names)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert missing == []
