"""The rules of the house that no single distribution can check: they hold between the folders."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BACKEND = r"oacp_storage_(file|sqlite|postgres|redis|mongo)"
MAX_LINES = 500

# Which of our packages each may import; whatever is not named here is a mistake. Arrows point one way:
# backend -> engine -> core; the suite, the command and the bench -> core.
ARROWS = {
    r"oacp_storage_core": r"oacp_storage_core|oacp",
    r"oacp": r"oacp_storage_core",
    r"oacp_storage_engine": r"oacp_storage_(core|engine)",
    r"oacp_storage_conformance": r"oacp_storage_(core|conformance)",
    r"oacp_storage_bench": r"oacp_storage_(core|bench)",
    r"oacp_storage": r"oacp_storage(_core)?",
}
# The seed's import path re-exports each backend's class: lazily at run time, by name for type checkers.
LAZY_REEXPORTS = "oacp/storage.py"

WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = [
    folder
    for pattern in WORKSPACE["tool"]["uv"]["workspace"]["members"]
    for folder in sorted(ROOT.glob(pattern))
]
per_member = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)


@cache
def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def sources(member: Path) -> list[Path]:
    return sorted((member / "src").rglob("*.py"))


def requirement_name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def imported_names(tree: ast.AST) -> set[str]:
    """The modules that a file imports, wherever in the file it does so."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return names | {node.module for node in relative if node.module and not node.level}


def allowed_imports(package: str) -> str:
    if re.fullmatch(BACKEND, package):
        return rf"oacp_storage_(core|engine)|{package}"
    return ARROWS[package]


def test_the_workspace_is_found() -> None:
    assert {"oacp-storage", "oacp-storage-core", "oacp-storage-engine"} <= {member.name for member in MEMBERS}


def test_versions_agree() -> None:
    versions = {member.name: project(member)["project"]["version"] for member in MEMBERS}
    assert len(set(versions.values())) == 1, versions


@per_member
def test_changelog_tells_of_the_version(member: Path) -> None:
    version = project(member)["project"]["version"]
    assert f"## [{version}]" in (member / "CHANGELOG.md").read_text()


@per_member
def test_requirements_on_each_other_accept_this_version_and_no_breaking_one(member: Path) -> None:
    major, minor, patch = project(member)["project"]["version"].split(".")
    expected = f">={major}.{minor}.{patch},<{major}.{int(minor) + 1}"
    table = project(member)["project"]
    extras = [item for items in table.get("optional-dependencies", {}).values() for item in items]
    ours = [
        item
        for item in table["dependencies"] + extras
        if requirement_name(item).startswith("oacp-storage") and "[" not in item
    ]
    for item in ours:
        assert item == requirement_name(item) + expected


@per_member
def test_each_distribution_is_complete(member: Path) -> None:
    for name in ("CHANGELOG.md", "LICENSE", "README.md"):
        assert (member / name).read_text().strip(), f"{member.name}/{name} is missing or empty"
    assert (member / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    folders = [folder for folder in (member / "src").iterdir() if folder.is_dir()]
    assert project(member)["project"]["name"].replace("-", "_") in {folder.name for folder in folders}
    for folder in folders:
        assert (folder / "py.typed").is_file(), f"{folder} has no py.typed"
    packed = project(member)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(packed) == sorted(f"src/{folder.name}" for folder in folders)


def test_the_namespace_folder_is_no_package() -> None:
    assert not list(ROOT.glob("packages/*/src/oacp/__init__.py"))


@per_member
def test_arrows_point_one_way(member: Path) -> None:
    wrong = []
    for file in sources(member):
        path = file.relative_to(member / "src").as_posix()
        package = path.split("/", maxsplit=1)[0]
        allowed = BACKEND + "|oacp_storage_core" if path == LAZY_REEXPORTS else allowed_imports(package)
        tops = {name.split(".")[0] for name in imported_names(ast.parse(file.read_text()))}
        ours = {name for name in tops if re.fullmatch(r"oacp(_storage\w*)?", name)}
        wrong += [f"{path} imports {name}" for name in ours if not re.fullmatch(allowed, name)]
    assert not wrong, "\n".join(wrong)


@per_member
def test_imports_of_ours_are_required(member: Path) -> None:
    table = project(member)["project"]
    required = {requirement_name(item) for item in table["dependencies"]} | {table["name"]}
    for file in sources(member):
        if file.parent.name == "oacp":
            continue
        tops = {name.split(".")[0] for name in imported_names(ast.parse(file.read_text()))}
        ours = {name.replace("_", "-") for name in tops if name.startswith("oacp_storage")}
        assert ours <= required, f"{file} imports what {member.name} does not require"


@per_member
def test_no_source_file_is_too_long(member: Path) -> None:
    long = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in sources(member)}
    assert not {path: lines for path, lines in long.items() if lines > MAX_LINES}


def test_tools_know_every_member() -> None:
    names = {project(member)["project"]["name"] for member in MEMBERS}
    tools = WORKSPACE["tool"]
    assert set(tools["uv"]["sources"]) == names
    found = {member.relative_to(ROOT).as_posix() for member in MEMBERS}
    helpers = {f"{path}/tests" for path in found}
    assert set(tools["pytest"]["ini_options"]["pythonpath"]) == helpers
    checked = {path.removeprefix("$MYPY_CONFIG_FILE_DIR/") for path in tools["mypy"]["mypy_path"]}
    assert checked == {f"{path}/src" for path in found} | helpers
    assert set(tools["coverage"]["run"]["source_pkgs"]) == {name.replace("-", "_") for name in names}
    stand_ins = {requirement_name(item) for item in tools["uv"].get("override-dependencies", [])}
    assert not stand_ins & names, "a package of the workspace needs no stand-in"


def test_what_tests_share_has_a_name_of_its_own() -> None:
    files = [file for member in MEMBERS for file in (member / "tests").glob("*.py")]
    names = [file.stem for file in files if not file.stem.startswith("test_") and file.stem != "conftest"]
    assert sorted(names) == sorted(set(names))


def test_ci_runs_the_commands_of_the_readme() -> None:
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    readme = (ROOT / "README.md").read_text()
    assert command.startswith("python3 -m venv ")
    assert command.endswith(" -s tests")
    assert command in readme
    assert command.replace("nox -s tests", "nox -s demo") in readme
